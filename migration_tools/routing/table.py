"""The routing table as a value, and the pure decisions that follow from it."""

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from migration_tools.errors import RoutingError
from migration_tools.routing.mistakes import find_mistakes
from migration_tools.routing.rules import ReadRule, parse_rules

# Note [buckets]: a user's bucket is xxh64(cookie) % 16384, the same arithmetic as Envoy's weighted clusters
# with a hash policy and a total weight of 16384. The new side owns the lowest buckets, so a growing share
# only ever adds users to it, and Python can name a user's side without asking the proxy.
BUCKETS = 16_384
BUCKET_COOKIE = "sx_bucket"

Side = Literal["old", "new"]
Writes = Literal["old", "hold", "new"]


class InvalidTable(RoutingError):
    """A routing table's mistakes, collected: `mistakes` is a list of sentences."""

    def __init__(self, mistakes: list[str], version: int = 0) -> None:
        self.mistakes = mistakes
        self.version = version
        lines = "\n".join(f"  {number}. {text}" for number, text in enumerate(mistakes, 1))
        noun = "mistake" if len(mistakes) == 1 else "mistakes"
        super().__init__(f"the routing table has {len(mistakes)} {noun}:\n{lines}")


@dataclass(frozen=True, kw_only=True)
class ContextRoute:
    """How one bounded context's URLs are answered; `old` and `service` are names of upstreams."""

    paths: tuple[str, ...]
    service: str
    old: str = "monolith"
    reads_percent: float = 0.0
    writes: Writes = "old"
    held_from: Side | None = None
    held_at: str | None = None
    hold_deadline_seconds: float = 45.0
    write_timeout_seconds: float = 60.0
    read_timeout_seconds: float = 30.0
    buffer_bytes: int = 33_554_432
    rules: tuple[ReadRule, ...] = ()
    shadow_percent: float = 0.0
    drains_old: int = 0
    drains_new: int = 0

    @property
    def reads_weight(self) -> int:
        """How many of the 16384 buckets read from the new side; a share above 0 or below 100 stays so."""
        if self.reads_percent in (0, 100):
            return BUCKETS if self.reads_percent else 0
        return min(max(round(BUCKETS * self.reads_percent / 100), 1), BUCKETS - 1)

    @property
    def writes_owner(self) -> Side:
        """The side writes go to, or will go to again when a hold is simply released."""
        if self.writes == "hold":
            return self.held_from or "old"
        return self.writes

    def upstream(self, side: Side) -> str:
        return self.service if side == "new" else self.old


@dataclass(frozen=True, kw_only=True)
class RoutingTable:
    """All routes at one version; what no context claims is answered by the upstream `default`."""

    version: int = 0
    default: str = "monolith"
    contexts: Mapping[str, ContextRoute] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the document: equal routes have equal digests, whatever their version."""
        text = json.dumps(to_document(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def context(self, name: str) -> ContextRoute:
        """
        Raises:
            RoutingError: no such context, with the nearest known name.
        """
        try:
            return self.contexts[name]
        except KeyError:
            near = difflib.get_close_matches(name, self.contexts, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"known contexts are {sorted(self.contexts)}"
            raise RoutingError(f"the routing table has no context {name!r}; {known}") from None


def parse_document(document: object, *, version: int = 0) -> RoutingTable:
    """Read a table from its JSON document.

    Raises:
        InvalidTable: with all mistakes at once.
    """
    mistakes = find_mistakes(document)
    if mistakes or not isinstance(document, Mapping):
        raise InvalidTable(mistakes, version)
    contexts = {
        name: ContextRoute(
            **{
                **route,
                "paths": tuple(normal_path(path) for path in route["paths"]),
                "rules": parse_rules(route.get("rules", ())),
            }
        )
        for name, route in document["contexts"].items()
    }
    return RoutingTable(version=version, default=document.get("default", "monolith"), contexts=contexts)


def to_document(table: RoutingTable) -> dict[str, Any]:
    """The table as JSON values, without its version: that is the number of the row it is stored in."""
    return {"default": table.default, "contexts": {name: _route(route) for name, route in table.contexts.items()}}


def _route(route: ContextRoute) -> dict[str, Any]:
    document = {**asdict(route), "paths": list(route.paths), "rules": [rule.document() for rule in route.rules]}
    if not route.rules:
        del document["rules"]  # so that the digest of a table without rules is what it always was
    if not route.shadow_percent:
        del document["shadow_percent"]
    for drains in ("drains_old", "drains_new"):
        if not document[drains]:
            del document[drains]
    return document


def normal_path(path: str) -> str:
    """`/api/orders/` and `/api/orders` are one prefix: the proxy matches it and everything below it."""
    return path.rstrip("/") or "/"


def ensure_context(table: RoutingTable, name: str, paths: tuple[str, ...] | list[str], service: str) -> RoutingTable:
    """The table with this context's routes as its playbook declares them; shares and owner are kept."""
    prefixes = tuple(normal_path(path) for path in paths)
    known = table.contexts.get(name)
    route = (
        ContextRoute(paths=prefixes, service=service, old=table.default)
        if known is None
        else replace(known, paths=prefixes, service=service)
    )
    return with_context(table, name, route)


def with_rule(table: RoutingTable, name: str, rule: ReadRule) -> RoutingTable:
    """Ask one more rule, after those there are."""
    route = table.context(name)
    return with_context(table, name, replace(route, rules=(*route.rules, rule)))


def without_rule(table: RoutingTable, name: str, number: int) -> RoutingTable:
    """
    Raises:
        RoutingError: there is no rule of that number (they count from 1).
    """
    rules = table.context(name).rules
    if not 1 <= number <= len(rules):
        raise RoutingError(f"{name!r} has {len(rules)} rules; there is no rule {number}")
    kept = (*rules[: number - 1], *rules[number:])
    return with_context(table, name, replace(table.context(name), rules=kept))


def with_context(table: RoutingTable, name: str, route: ContextRoute) -> RoutingTable:
    return replace(table, contexts={**table.contexts, name: route})


def without_context(table: RoutingTable, name: str) -> RoutingTable:
    """Its paths are answered by the default upstream, like any that no context claims."""
    return replace(table, contexts={each: route for each, route in table.contexts.items() if each != name})


def without_way_back(table: RoutingTable, name: str) -> RoutingTable:
    """Every read and write to the service, whatever rules and shadow reads said: nothing asks the old side again."""
    route = replace(
        table.context(name),
        reads_percent=100.0,
        rules=(),
        shadow_percent=0.0,
        writes="new",
        held_from=None,
        held_at=None,
    )
    return with_context(table, name, route)


def with_reads(table: RoutingTable, name: str, percent: float) -> RoutingTable:
    return with_context(table, name, replace(table.context(name), reads_percent=percent))


def with_shadow(table: RoutingTable, name: str, percent: float) -> RoutingTable:
    """Let this share of a context's reads be asked again of both sides, for comparison only."""
    return with_context(table, name, replace(table.context(name), shadow_percent=percent))


def with_drain(table: RoutingTable, name: str, side: Side) -> RoutingTable:
    """End the sockets and event streams that are open on a side; new ones go by the routes as ever."""
    route = table.context(name)
    if side == "old":
        return with_context(table, name, replace(route, drains_old=route.drains_old + 1))
    return with_context(table, name, replace(route, drains_new=route.drains_new + 1))


def with_writes(table: RoutingTable, name: str, writes: Writes, *, now: str | None = None) -> RoutingTable:
    """Send writes to a side, or hold them; a hold remembers where they went and when (`now`) it began."""
    route = table.context(name)
    if writes != "hold":
        changed = replace(route, writes=writes, held_from=None, held_at=None)
    elif route.writes == "hold":
        changed = route
    else:
        changed = replace(route, writes="hold", held_from=route.writes, held_at=now)
    return with_context(table, name, changed)


def released(table: RoutingTable, name: str) -> RoutingTable:
    """Let held writes go on to the side they went to before the hold."""
    return with_writes(table, name, table.context(name).writes_owner)


def pin_cookie(context: str) -> str:
    """The cookie that sends a reader to the owner for a moment after they wrote."""
    return f"sx_pin_{context}"


def own_write_prefix(context: str) -> str:
    """How cookies begin that send a reader to the owner until the other side has what they wrote; see own_writes."""
    return f"sx_after_{context}_"


def own_write_pattern(context: str) -> str:
    """A regular expression of such a cookie's whole name; the digits tell one write from another."""
    return f"{own_write_prefix(context)}[0-9a-f]{{8}}"


def user_bucket_key(user_id: object) -> str:
    """The bucket cookie's value of a logged-in user: the same on each of their devices, known from the id alone."""
    return hashlib.sha256(f"strangler.bucket:{user_id}".encode()).hexdigest()[:24]


def bucket_of(key: str) -> int:
    """A key's bucket; see Note [buckets].

    Raises:
        RoutingError: the `xxhash` library is not installed.
    """
    try:
        import xxhash
    except ImportError:
        raise RoutingError("the library 'xxhash' is not installed; run pip install 'django-strangler[proxy]'") from None
    return xxhash.xxh64_intdigest(key.encode()) % BUCKETS


def side_for(table: RoutingTable, bucket_key: str, context: str) -> Side:
    """Which side answers this user's reads; `bucket_key` is the value of the cookie `sx_bucket`."""
    return "new" if bucket_of(bucket_key) < table.context(context).reads_weight else "old"


def reader_side(
    table: RoutingTable, context: str, *, method: str, path: str, headers: Mapping[str, str], cookies: Mapping[str, str]
) -> Side | None:
    """Which side answers this read, as the proxy decides it; None for a first visit, whose bucket the proxy draws.

    The order is the proxy's: a WebSocket may write and goes to the owner; whoever has just written reads from the
    owner; then the first rule that matches counts, and then the share.
    """
    route = table.context(context)
    wrote = re.compile(own_write_pattern(context))
    if headers.get("upgrade", "").lower() == "websocket":
        return route.writes_owner
    if cookies.get(pin_cookie(context)) == "1" or any(wrote.fullmatch(name) for name in cookies):
        return route.writes_owner
    for rule in route.rules:
        if rule.matches(method, path, headers, cookies):
            return rule.side
    if route.reads_weight in (0, BUCKETS):
        return "new" if route.reads_weight else "old"
    bucket = cookies.get(BUCKET_COOKIE)
    return side_for(table, bucket, context) if bucket else None


def difference(before: RoutingTable, after: RoutingTable) -> list[str]:
    """Every changed fact as `context.field: before -> after`; empty when both route alike."""
    old, new = _facts(before), _facts(after)
    return [
        f"{name}: {old.get(name, 'absent')} -> {new.get(name, 'absent')}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]


def _facts(table: RoutingTable) -> dict[str, str]:
    document = to_document(table)
    facts = {"default": json.dumps(document["default"])}
    for context, route in document["contexts"].items():
        facts |= {f"{context}.{name}": json.dumps(value) for name, value in route.items()}
    return facts
