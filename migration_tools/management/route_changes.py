"""The changes that strangle_route publishes; writes follow the database's fence, whatever an operator asks for."""

import getpass
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from django.core.management.base import CommandError

from migration_tools.capture.models import Side as Database
from migration_tools.capture.ownership import read_owner
from migration_tools.conf import settings
from migration_tools.errors import ExitCode, RoutingError
from migration_tools.routing import publishing, streams
from migration_tools.routing import table as tables
from migration_tools.routing.planes.capabilities import cannot
from migration_tools.routing.rules import ReadRule
from migration_tools.routing.table import RoutingTable, Side, Writes
from migration_tools.stores.postgres import django_connection

Options = dict[str, Any]
ASSIGNMENTS = "reads=25%, shadow=5%, writes=old or writes=new"


def publish_change(options: Options) -> RoutingTable:
    """Publish what the options ask for; returns the table in force afterwards.

    Raises:
        RoutingError: the change cannot be made, or would send writes to a side that the fence has closed.
    """
    who = {"author": options["author"] or getpass.getuser(), "reason": options["reason"]}
    context = options.get("context", "")
    match options["action"]:
        case "hold":
            return publishing.set_writes(context, "hold", **who)
        case "release":
            return publishing.release(context, **who)
        case "rollback":
            # Writes are handed over by moves, not by routes: they stay where the fence has them.
            fenced = {name for name in publishing.current().contexts if fenced_owner(name) is not None}
            return publishing.rollback(options["version"], keep_writes=fenced, **who)
        case "kill":
            change, what = _kill(context), f"{context}: killed, every read to the old side"
        case "rule":
            rule = _rule(options)
            change, what = (lambda table: tables.with_rule(table, context, rule)), f"{context}: rule {rule}"
        case "unrule":
            number = options["number"]
            change, what = (lambda table: tables.without_rule(table, context, number)), f"{context}: no rule {number}"
        case _:
            change, what = _assign(context, options["assignments"]), f"{context}: {' '.join(options['assignments'])}"
    return publishing.publish(
        _possible(change, context, options),
        attempts=publishing.ATTEMPTS,
        author=who["author"],
        reason=who["reason"] or what,
    )


def _possible(change: publishing.Change, context: str, options: Options) -> publishing.Change:
    """The change, refused when it asks for what the data plane cannot do and did not have to do before."""
    plane = settings().DATA_PLANE
    allow = bool(options.get("allow_unsticky"))

    def checked(table: RoutingTable) -> RoutingTable:
        after = change(table)
        before = set(cannot(plane, table.context(context), allow_unsticky=allow))
        found = [text for text in cannot(plane, after.context(context), allow_unsticky=allow) if text not in before]
        if found:
            raise RoutingError(f"{'; '.join(found)}; nothing was changed")
        return after

    return checked


def drain_streams(options: Options) -> dict[str, Any]:
    """End a side's streams, or say with --dry-run what that would end.

    Raises:
        RoutingError: no such context, a proxy does not follow, or streams are left when the time is over.
    """
    context = options["context"]
    route = publishing.current().context(context)
    side: Side = options["side"] or ("new" if route.writes_owner == "old" else "old")
    found = {"side": side, "open": streams.by_proxy(context)}
    if options["dry_run"]:
        number = streams.count(context, side)
        return found | {"message": f"would end {number} streams on the {side} side of {context!r}; nothing was touched"}
    who = options["author"] or getpass.getuser()
    done = streams.drain(context, side, seconds=options["seconds"], author=who, reason=options["reason"])
    if done.streams_left:
        raise RoutingError(
            f"{done.streams_left} streams are open on the {side} side of {context!r} after {options['seconds']:g} s: "
            f"their clients came back to it, or a proxy has not cut them yet; look with strangle_route show, then "
            f"run strangle_route drain {context} again"
        )
    message = f"{done.streams_before} streams on the {side} side of {context!r} ended within {done.seconds:.1f} s"
    return found | done.evidence() | {"message": message}


def fenced_owner(context: str) -> Writes | None:
    """The side that the monolith's fence lets write; None while no fence is installed."""
    owner = read_owner(django_connection(settings().DATABASE), context)
    if owner is None:
        return None
    return "new" if owner.owner is Database.TARGET else "old"


def _kill(context: str) -> publishing.Change:
    """Every read to the old side at once, rules included; writes stay where the fence has them."""
    owner = fenced_owner(context)

    def change(table: RoutingTable) -> RoutingTable:
        route = replace(table.context(context), reads_percent=0.0, rules=())
        table = tables.with_context(table, context, route)
        return tables.with_writes(table, context, owner) if owner is not None else table

    return change


def _assign(context: str, assignments: list[str]) -> publishing.Change:
    """`reads=25%` and `writes=new` as one change of a table."""
    changes = [_assign_one(context, text) for text in assignments]

    def change(table: RoutingTable) -> RoutingTable:
        for each in changes:
            table = each(table)
        return table

    return change


def _assign_one(context: str, text: str) -> Callable[[RoutingTable], RoutingTable]:
    key, _, value = text.partition("=")
    if text in ("writes=old", "writes=new"):
        side: Writes = "new" if value == "new" else "old"
        _refuse_closed(context, side)
        return lambda table: tables.with_writes(table, context, side)
    try:
        percent = float(value.removesuffix("%"))
    except ValueError:
        percent = -1.0
    if key not in ("reads", "shadow") or not 0 <= percent <= 100:
        raise CommandError(
            f"{text!r} is not an assignment; write {ASSIGNMENTS} (or use the actions hold and release)",
            returncode=ExitCode.USAGE,
        )
    assign = tables.with_reads if key == "reads" else tables.with_shadow
    return lambda table: assign(table, context, percent)


def _refuse_closed(context: str, side: Writes) -> None:
    owner = fenced_owner(context)
    if owner is not None and owner != side:
        move = "strangle_cutover" if side == "new" else "strangle_rollback"
        raise RoutingError(
            f"the fence lets only the {owner} side write {context!r}, so the {side} side would refuse every write; "
            f"nothing was changed. To hand it over run {move} {context}"
        )


def _rule(options: Options) -> ReadRule:
    pairs: dict[str, dict[str, str]] = {}
    for kind in ("header", "cookie"):
        pairs[kind] = {}
        for text in options[kind]:
            name, found, value = text.partition("=")
            if not found:
                raise CommandError(f"--{kind} is {text!r}; write NAME=VALUE", returncode=ExitCode.USAGE)
            pairs[kind][name.lower() if kind == "header" else name] = value
    return ReadRule(
        side=options["side"],
        methods=tuple(method.upper() for method in options["method"]),
        path=options["path"].rstrip("/"),
        headers=pairs["header"],
        cookies=pairs["cookie"],
        cohort=options["cohort"],
    )
