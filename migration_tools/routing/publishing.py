"""Publish versions of the routing table, go back to older ones, and wait until proxies answer by them."""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from migration_tools.conf import settings
from migration_tools.errors import RoutingError
from migration_tools.routing import table as tables
from migration_tools.routing.models import ProxyInstance, RoutingHead, RoutingVersion
from migration_tools.routing.table import RoutingTable, Writes

HEAD = 1
ATTEMPTS = 5
ALIVE_SECONDS = 5.0
_POLL_SECONDS = 0.01

Change = Callable[[RoutingTable], RoutingTable]


class RoutingMoved(RoutingError):
    """Somebody else published meanwhile; nothing was changed."""

    def __init__(self, parent: int) -> None:
        self.parent = parent
        super().__init__(
            f"routing version {parent} is no longer current: somebody else published; nothing was changed; "
            f"look with strangle_route show and run the command again"
        )


class RoutingNotConfirmed(RoutingError):
    """A live proxy does not answer by the version that was published."""

    def __init__(self, version: int, problems: dict[str, str]) -> None:
        self.version = version
        self.problems = problems
        lines = "".join(f"\n  {proxy!r} {problem}" for proxy, problem in sorted(problems.items()))
        super().__init__(
            f"routing version {version} is published but not confirmed by:{lines}\ngo back with strangle_route rollback"
        )


def current() -> RoutingTable:
    """The table in force; an empty one at version 0 before anything was published."""
    head = RoutingHead.objects.using(_alias()).select_related("version").filter(pk=HEAD).first()
    if head is None:
        return RoutingTable()
    return tables.parse_document(head.version.document, version=head.version_id)


def current_version() -> int:
    """The number of the version in force: one indexed read, cheap enough to poll."""
    return RoutingHead.objects.using(_alias()).filter(pk=HEAD).values_list("version_id", flat=True).first() or 0


def at_version(version: int) -> RoutingTable:
    """
    Raises:
        RoutingError: there is no such version.
    """
    if version == 0:
        return RoutingTable()
    row = RoutingVersion.objects.using(_alias()).filter(pk=version).first()
    if row is None:
        raise RoutingError(f"there is no routing version {version}; list them with strangle_route log")
    return tables.parse_document(row.document, version=row.pk)


def publish(change: Change, *, author: str, reason: str, attempts: int = 1) -> RoutingTable:
    """Apply `change` to the current table and make the result current; opens its own transaction.

    Publishing what is already in force writes nothing. With `attempts` above 1 the change is made again
    on what somebody else published meanwhile, so it must only depend on its argument.

    Raises:
        InvalidTable: the changed table has mistakes; nothing was published.
        RoutingMoved: somebody else published meanwhile; nothing was published.
    """
    for attempt in range(1, attempts + 1):
        try:
            return _publish_once(change, author=author, reason=reason)
        except RoutingMoved:
            if attempt == attempts:
                raise
    raise ValueError(f"attempts is {attempts!r}; it must be 1 or more")


def set_reads(context: str, percent: float, *, author: str = "", reason: str = "") -> RoutingTable:
    """Let the new side answer this share of a context's readers."""
    return publish(
        lambda table: tables.with_reads(table, context, percent),
        author=author,
        reason=reason or f"{context}: {percent:g} % of the reads to the new side",
        attempts=ATTEMPTS,
    )


def set_writes(context: str, writes: Writes, *, author: str = "", reason: str = "") -> RoutingTable:
    """Send a context's writes to a side or hold them: a hint, the database's fence is what decides."""
    now = datetime.now(tz=UTC).isoformat()
    return publish(
        lambda table: tables.with_writes(table, context, writes, now=now),
        author=author,
        reason=reason or f"{context}: writes {'held' if writes == 'hold' else f'to the {writes} side'}",
        attempts=ATTEMPTS,
    )


def drain(context: str, side: tables.Side, *, author: str = "", reason: str = "") -> RoutingTable:
    """End the sockets and event streams that are open on a side, at every proxy."""
    return publish(
        lambda table: tables.with_drain(table, context, side),
        author=author,
        reason=reason or f"{context}: streams on the {side} side ended",
        attempts=ATTEMPTS,
    )


def release(context: str, *, author: str = "", reason: str = "") -> RoutingTable:
    """End a hold: writes go where they went before it."""
    return publish(
        lambda table: tables.released(table, context),
        author=author,
        reason=reason or f"{context}: hold released",
        attempts=ATTEMPTS,
    )


def rollback(
    version: int | None = None, *, author: str = "", reason: str = "", keep_writes: Collection[str] = ()
) -> RoutingTable:
    """Publish an older version's document again (default: the parent of the current one).

    Writes of the contexts in `keep_writes` go on to where they go now.
    """
    if version is None:
        row = RoutingVersion.objects.using(_alias()).filter(pk=current_version()).first()
        if row is None:
            raise RoutingError("nothing was published yet; there is nothing to go back to")
        version = row.parent_id or 0
    older = at_version(version)

    def change(now: RoutingTable) -> RoutingTable:
        kept = {
            name: replace(older.contexts[name], writes=at.writes, held_from=at.held_from, held_at=at.held_at)
            for name, at in now.contexts.items()
            if name in keep_writes and name in older.contexts
        }
        return replace(older, contexts={**older.contexts, **kept})

    return publish(change, author=author, reason=reason or f"back to version {version}")


def log(limit: int = 50) -> list[RoutingVersion]:
    """The latest versions, newest first."""
    return list(RoutingVersion.objects.using(_alias())[:limit])


def live_proxies(alive_seconds: float = ALIVE_SECONDS) -> list[ProxyInstance]:
    """Proxies that reported within the last `alive_seconds`, by the database's clock."""
    since = Now() - timedelta(seconds=alive_seconds)
    return list(ProxyInstance.objects.using(_alias()).filter(seen_at__gte=since))


def silent_proxies(alive_seconds: float = ALIVE_SECONDS) -> list[str]:
    """Proxies that neither reported lately nor said goodbye: their Envoy may go on serving by an older table."""
    since = Now() - timedelta(seconds=alive_seconds)
    rows = ProxyInstance.objects.using(_alias()).filter(seen_at__lt=since).order_by("proxy")
    return [
        f"proxy {row.proxy!r} has not been heard of since {row.seen_at:%Y-%m-%d %H:%M:%S} and may still send writes by "
        f"an older table; start strangle_proxy run there again, or if it is gone: strangle_route forget {row.proxy}"
        for row in rows
    ]


def forget_proxy(proxy: str) -> bool:
    """Take a proxy that serves nobody any more off the books; whether it was on them."""
    return bool(ProxyInstance.objects.using(_alias()).filter(proxy=proxy).delete()[0])


def wait_applied(
    version: int, timeout_seconds: float = 10.0, *, alive_seconds: float = ALIVE_SECONDS
) -> list[ProxyInstance]:
    """Wait until every live proxy answers by `version` or a later one; no live proxies: at once, `[]`.

    One that falls silent while it is waited for has not confirmed anything; one that says goodbye need not.

    Raises:
        RoutingNotConfirmed: a proxy refused the version (its reason is told), or the time is over.
    """
    deadline = time.monotonic() + timeout_seconds
    asked: set[str] = set()
    while True:
        asked |= {row.proxy for row in live_proxies(alive_seconds)}
        proxies = list(ProxyInstance.objects.using(_alias()).filter(proxy__in=asked))
        behind = [row for row in proxies if (row.applied_version or 0) < version]
        if not behind:
            return proxies
        refused = {row.proxy: f"refused it: {row.rejected_reason}" for row in behind if _refuses(row, version)}
        if refused:
            raise RoutingNotConfirmed(version, refused)
        if time.monotonic() > deadline:
            late = {
                row.proxy: f"still answers by version {row.applied_version or 0} after {timeout_seconds:g} s"
                for row in behind
            }
            raise RoutingNotConfirmed(version, late)
        time.sleep(_POLL_SECONDS)


def report_proxy(proxy: str, values: Mapping[str, object]) -> None:
    """Record what a proxy does now, stamped by the database's clock."""
    ProxyInstance.objects.using(_alias()).update_or_create(proxy=proxy, defaults={**values, "seen_at": Now()})


class TableReader:
    """Read the current table again and again, the document only when the head has moved."""

    def __init__(self) -> None:
        self._table: RoutingTable | None = None

    def __call__(self) -> RoutingTable:
        if self._table is None or self._table.version != current_version():
            self._table = current()
        return self._table


def _publish_once(change: Change, *, author: str, reason: str) -> RoutingTable:
    before = current()
    after = tables.parse_document(tables.to_document(change(before)))
    if before.version and after.digest == before.digest:
        return before
    with transaction.atomic(using=_alias()):
        row = RoutingVersion(
            document=tables.to_document(after),
            parent_id=before.version or None,
            author=author,
            reason=reason,
            sha256=after.digest,
        )
        row.save(using=_alias())
        _swap_head(before.version, row)
    return tables.parse_document(row.document, version=row.pk)


def _swap_head(parent: int, row: RoutingVersion) -> None:
    if parent:
        heads = RoutingHead.objects.using(_alias()).filter(pk=HEAD, version_id=parent)
        if not heads.update(version=row):
            raise RoutingMoved(parent)
        return
    try:
        with transaction.atomic(using=_alias()):
            RoutingHead.objects.using(_alias()).create(pk=HEAD, version=row)
    except IntegrityError:
        raise RoutingMoved(parent) from None


def _refuses(row: ProxyInstance, version: int) -> bool:
    return row.rejected_version is not None and row.rejected_version >= version


def _alias() -> str:
    return settings().DATABASE
