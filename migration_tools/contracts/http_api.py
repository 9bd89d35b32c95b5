"""Whether clients of a released OpenAPI document can go on with another one, operation by operation.

Clients send no property that the released document does not name, and ignore those that they do not know in answers. So
an old request must be one of the new ones, and a new answer one of the old ones; see Note [compatible].
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from migration_tools.contracts.compatibility import Break, Mode, Reason, Schema, excess, tolerant
from migration_tools.errors import ContractError

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# What says nothing about which values are allowed.
REMARKS = {"readOnly", "writeOnly", "example", "externalDocs", "xml", "discriminator"}

# What an operation's answers are, from the most to the least that a client may count on.
CONSISTENCY = ("strong", "session", "eventual")
CONSISTENCY_EXTENSION = "x-consistency"

Document = Mapping[str, Any]


def api_breaks(released: Document, declared: Document) -> Iterator[Break]:
    """Every reason why a client of the released document may fail with the declared one."""
    for path, operations in released.get("paths", {}).items():
        for method in METHODS:
            if method not in operations:
                continue
            where = f"{method.upper()} {path}"
            new = declared.get("paths", {}).get(path, {}).get(method)
            if new is None:
                yield Break(path=where, rule="removed", mode=Mode.BACKWARD, message="is served no more")
                continue
            old = operations[method]
            yield from _consistency(where, old, new)
            yield from _parameters(where, old, new, released, declared)
            yield from _requests(where, old, new, released, declared)
            yield from _answers(where, old, new, released, declared)


def read_api(path: Path) -> Document:
    """The released document.

    Raises:
        ContractError: there is none, or it is no JSON.
    """
    try:
        found: Document = json.loads(path.read_text())
    except FileNotFoundError:
        raise ContractError(f"no API is released in {path}; release it with strangle_contracts release --api") from None
    except ValueError as error:
        raise ContractError(f"{path} is no JSON; take it from version control") from error
    return found


def _consistency(where: str, old: Document, new: Document) -> Iterator[Break]:
    before, after = old.get(CONSISTENCY_EXTENSION), new.get(CONSISTENCY_EXTENSION)
    if before in CONSISTENCY and after not in CONSISTENCY[: CONSISTENCY.index(before) + 1]:
        message = f"answers were {before} and are {after or 'not said to be so'} now"
        yield Break(path=where, rule="consistency", mode=Mode.FORWARD, message=message)


def _parameters(where: str, old: Document, new: Document, released: Document, declared: Document) -> Iterator[Break]:
    before = {(each["in"], each["name"]): each for each in old.get("parameters", ())}
    after = {(each["in"], each["name"]): each for each in new.get("parameters", ())}
    for key, each in after.items():
        if each.get("required") and not before.get(key, {}).get("required"):
            yield _break(where, f"{key[0]} {key[1]}", ("$", "required", "must be given now"), Mode.BACKWARD)
    for key, each in before.items():
        if key not in after:
            yield _break(where, f"{key[0]} {key[1]}", ("$", "removed", "is not looked at any more"), Mode.BACKWARD)
            continue
        ours, theirs = _plain(each.get("schema", {}), released), _plain(after[key].get("schema", {}), declared)
        for reason in excess(_closed(ours), theirs):
            yield _break(where, f"{key[0]} {key[1]}", reason, Mode.BACKWARD)


def _requests(where: str, old: Document, new: Document, released: Document, declared: Document) -> Iterator[Break]:
    before, after = old.get("requestBody", {}), new.get("requestBody", {})
    if after.get("required") and not before.get("required"):
        yield _break(where, "request", ("$", "required", "must be given now"), Mode.BACKWARD)
    for kind, content in before.get("content", {}).items():
        if kind not in after.get("content", {}):
            yield _break(where, f"request {kind}", ("$", "removed", "is not taken any more"), Mode.BACKWARD)
            continue
        ours = _plain(content.get("schema", {}), released)
        theirs = _plain(after["content"][kind].get("schema", {}), declared)
        for reason in excess(_closed(ours), theirs):
            yield _break(where, f"request {kind}", reason, Mode.BACKWARD)


def _answers(where: str, old: Document, new: Document, released: Document, declared: Document) -> Iterator[Break]:
    """Answers of success; which errors there are may change, and their shape is one for all."""
    for status, answer in old.get("responses", {}).items():
        if not status.startswith("2"):
            continue
        for kind, content in answer.get("content", {}).items():
            then = new.get("responses", {}).get(status, {}).get("content", {}).get(kind)
            if then is None:
                yield _break(where, f"{status} {kind}", ("$", "removed", "is answered no more"), Mode.FORWARD)
                continue
            ours, theirs = _plain(then.get("schema", {}), declared), _plain(content.get("schema", {}), released)
            for reason in excess(_closed(ours), tolerant(theirs)):
                yield _break(where, f"{status} {kind}", reason, Mode.FORWARD)


def _break(where: str, what: str, reason: Reason, mode: Mode) -> Break:
    path, rule, message = reason
    return Break(path=f"{where} {what} {path}", rule=rule, mode=mode, message=message)


def _plain(schema: Any, document: Document, within: tuple[str, ...] = ()) -> Any:
    """The schema without references and remarks; one that holds itself is taken as anything there."""
    if isinstance(schema, list):
        return [_plain(each, document, within) for each in schema]
    if not isinstance(schema, Mapping):
        return schema
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return True if name in within else _plain(_component(name, document), document, (*within, name))
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1:
        return _plain(schema["allOf"][0], document, within)
    plain = {word: value for word, value in schema.items() if word not in REMARKS}
    for word in ("items", "additionalProperties"):
        if word in plain:
            plain[word] = _plain(plain[word], document, within)
    if "properties" in plain:
        plain["properties"] = {name: _plain(each, document, within) for name, each in plain["properties"].items()}
    for word in ("anyOf", "oneOf"):
        if word in plain:
            plain["anyOf"] = _plain(plain.pop(word), document, within)
    return plain


def _component(name: str, document: Document) -> Any:
    found = document.get("components", {}).get("schemas", {}).get(name)
    if found is None:
        raise ContractError(f"the OpenAPI document refers to schema {name!r}, which it does not have")
    return found


def _closed(schema: Schema) -> Schema:
    """The schema as those mean it who send: with the named properties alone."""
    if isinstance(schema, bool):
        return schema
    closed: dict[str, Any] = dict(schema)
    if "properties" in closed:
        closed["properties"] = {name: _closed(each) for name, each in closed["properties"].items()}
        closed.setdefault("additionalProperties", False)
    if "items" in closed:
        closed["items"] = _closed(closed["items"])
    if "anyOf" in closed:
        closed["anyOf"] = [_closed(each) for each in closed["anyOf"]]
    return closed
