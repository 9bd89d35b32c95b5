"""What can be wrong with a routing table's document, found all at once and said in sentences."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from migration_tools.routing.rules import PATH, rule_mistakes

# The proxy makes cluster names and cookie names of these; a dot would break the tags of its metrics.
NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
BUFFER_BYTES_MAXIMUM = 1 << 30

TABLE_KEYS = ("default", "contexts")
ROUTE_KEYS = (
    "paths",
    "service",
    "old",
    "reads_percent",
    "writes",
    "held_from",
    "held_at",
    "hold_deadline_seconds",
    "write_timeout_seconds",
    "read_timeout_seconds",
    "buffer_bytes",
    "rules",
    "shadow_percent",
    "drains_old",
    "drains_new",
)


def find_mistakes(document: object) -> list[str]:
    """All mistakes of a table's document; empty when it can be used."""
    if not isinstance(document, Mapping):
        return [f"the table is {type(document).__name__}; it must be an object with 'contexts'"]
    mistakes = [*_unknown("the table", document, TABLE_KEYS)]
    if not _is_name(document.get("default", "monolith")):
        mistakes.append(f"default is {document['default']!r}; it must be the name of an upstream")
    contexts = document.get("contexts")
    if not isinstance(contexts, Mapping):
        return [*mistakes, f"contexts is {contexts!r}; it must be an object of contexts by name"]
    for name, route in contexts.items():
        if not _is_name(name):
            mistakes.append(f"the context name {name!r} is not usable; use lower case letters, digits and _")
        if not isinstance(route, Mapping):
            mistakes.append(f"{name} is {route!r}; it must be an object with 'paths' and 'service'")
            continue
        mistakes += [f"{name}: {mistake}" for mistake in _route_mistakes(route)]
    return [*mistakes, *_shared_paths(contexts)]


def _route_mistakes(route: Mapping[str, Any]) -> Iterator[str]:
    yield from _unknown("the route", route, ROUTE_KEYS)
    yield from _path_mistakes(route.get("paths"))
    for key, default in (("service", None), ("old", "monolith")):
        if not _is_name(route.get(key, default)):
            yield f"{key} is {route.get(key)!r}; it must be the name of an upstream"
    if route.get("service") == route.get("old", "monolith"):
        yield f"service and old are both {route.get('service')!r}; nothing would be moved"
    for key in ("reads_percent", "shadow_percent"):
        percent = route.get(key, 0)
        if not _is_number(percent) or not 0 <= percent <= 100:
            yield f"{key} is {percent!r}; it must be a number from 0 to 100"
    for key in ("drains_old", "drains_new"):
        drains = route.get(key, 0)
        if not isinstance(drains, int) or isinstance(drains, bool) or drains < 0:
            yield f"{key} is {drains!r}; it must be a whole number of drains so far"
    yield from rule_mistakes(route.get("rules", ()), route.get("paths"))
    yield from _write_mistakes(route)
    size = route.get("buffer_bytes", 1)
    if not isinstance(size, int) or isinstance(size, bool) or not 1 <= size <= BUFFER_BYTES_MAXIMUM:
        yield f"buffer_bytes is {size!r}; it must be a whole number from 1 to {BUFFER_BYTES_MAXIMUM}"


def _path_mistakes(paths: object) -> Iterator[str]:
    if not isinstance(paths, list | tuple) or not paths:
        yield f"paths is {paths!r}; it must be a list of at least one path prefix"
        return
    for path in paths:
        if not isinstance(path, str) or not PATH.fullmatch(path):
            yield f"the path {path!r} is not usable; write a plain prefix such as '/api/orders/'"
        elif not path.strip("/"):
            yield f"the path {path!r} would take the whole site; name a prefix below it"
        elif "//" in path or {".", ".."} & set(path.split("/")):
            yield f"the path {path!r} never matches, since the proxy normalises paths first; write it plainly"


def _write_mistakes(route: Mapping[str, Any]) -> Iterator[str]:
    writes, held_from = route.get("writes", "old"), route.get("held_from")
    if writes not in ("old", "hold", "new"):
        yield f"writes is {writes!r}; it must be 'old', 'hold' or 'new'"
    if writes == "hold" and held_from not in ("old", "new"):
        yield f"writes are held but held_from is {held_from!r}; it must say 'old' or 'new'"
    if writes in ("old", "new") and held_from is not None:
        yield f"held_from is {held_from!r} but writes are {writes!r}, not held"
    seconds = {
        "hold_deadline_seconds": route.get("hold_deadline_seconds", 45.0),
        "write_timeout_seconds": route.get("write_timeout_seconds", 60.0),
        "read_timeout_seconds": route.get("read_timeout_seconds", 30.0),
    }
    wrong = {key: value for key, value in seconds.items() if not _is_number(value) or value <= 0}
    for key, value in wrong.items():
        yield f"{key} is {value!r}; it must be a number above 0"
    if not wrong and seconds["hold_deadline_seconds"] >= seconds["write_timeout_seconds"]:
        yield (
            f"hold_deadline_seconds {seconds['hold_deadline_seconds']} is not below write_timeout_seconds "
            f"{seconds['write_timeout_seconds']}; held writes would fail before they are released"
        )


def _shared_paths(contexts: Mapping[str, Any]) -> Iterator[str]:
    owners: dict[str, str] = {}
    for name, route in contexts.items():
        paths = route.get("paths") if isinstance(route, Mapping) else None
        for path in paths if isinstance(paths, list | tuple) else ():
            if not isinstance(path, str):
                continue
            owner = owners.setdefault(path.rstrip("/"), name)
            if owner != name:
                yield f"the path {path!r} is claimed by {owner!r} and by {name!r}; one context owns a path"


def _unknown(what: str, found: Mapping[str, Any], known: tuple[str, ...]) -> Iterator[str]:
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known keys are {sorted(known)}"
            yield f"{what} has an unknown key {key!r}; {hint}"


def _is_name(value: object) -> bool:
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e15 < value < 1e15
