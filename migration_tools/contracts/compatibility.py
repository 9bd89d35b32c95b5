"""Whether every instance of one schema is an instance of another: what backward and forward compatibility come down to.

Note [compatible]. A change is *backward* compatible when everything valid under the old schema is valid under the new
one: new code reads what was published before. It is *forward* compatible when everything valid under the new schema can
be read by those who know the old one only; readers ignore properties that they do not know, so the old schema is taken
open. Both are one question, asked in two directions. The answer errs on one side: a keyword that is not understood, or
alternatives that fit only together, count as a break. So does the property test demand, which makes instances.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from typing import Any

from migration_tools.contracts.validation import validator

Schema = Mapping[str, Any] | bool

ANNOTATIONS = {"$schema", "$id", "$comment", "title", "description", "default", "examples", "deprecated"}
KEYWORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern", "format"},
    "number": {"minimum", "maximum"},
    "integer": {"minimum", "maximum"},
    "boolean": set(),
    "null": set(),
}
UNDERSTOOD = {"type", "enum", "const", "anyOf"}.union(*KEYWORDS.values())
LOWEST = ("minItems", "minLength", "minimum")
HIGHEST = ("maxItems", "maxLength", "maximum")
SAME = ("pattern", "format")


class Mode(StrEnum):
    """Which way a change must be compatible."""

    BACKWARD = "backward"
    FORWARD = "forward"
    FULL = "full"


@dataclass(frozen=True, kw_only=True)
class Break:
    """One reason why an instance may not fit: where, by which rule, in which direction."""

    path: str
    rule: str
    mode: Mode
    message: str


def breaks(old: Schema, new: Schema, mode: Mode) -> list[Break]:
    """Every reason why the change is not compatible; see Note [compatible]."""
    found: list[Break] = []
    if mode in (Mode.BACKWARD, Mode.FULL):
        found += (_named(each, Mode.BACKWARD) for each in excess(old, new))
    if mode in (Mode.FORWARD, Mode.FULL):
        found += (_named(each, Mode.FORWARD) for each in excess(new, tolerant(old)))
    return list(dict.fromkeys(found))


def tolerant(schema: Schema) -> Schema:
    """The schema as a reader takes it, who ignores properties that it does not know."""
    if isinstance(schema, bool):
        return schema
    opened: dict[str, Any] = dict(schema)
    if opened.get("additionalProperties") is False:
        del opened["additionalProperties"]
    for keyword in ("items", "additionalProperties"):
        if keyword in opened:
            opened[keyword] = tolerant(opened[keyword])
    if "properties" in opened:
        opened["properties"] = {name: tolerant(each) for name, each in opened["properties"].items()}
    if "anyOf" in opened:
        opened["anyOf"] = [tolerant(each) for each in opened["anyOf"]]
    return opened


Reason = tuple[str, str, str]


def excess(some: Schema, all_: Schema, path: str = "$") -> list[Reason]:
    """Why an instance of `some` may be none of `all_`: (path, rule, sentence) each; empty when none can be."""
    if some == all_ or some is False or all_ is True or all_ == {}:
        return []
    strange = sorted(_strange(some) | _strange(all_))
    if strange:
        return [(path, strange[0], f"uses {', '.join(strange)}, which cannot be compared; declare a new version")]
    if isinstance(some, Mapping) and ("enum" in some or "const" in some):
        return list(_excess_of_values(some, all_, path))
    if isinstance(some, Mapping) and "anyOf" in some:
        return [reason for each in some["anyOf"] for reason in excess(each, all_, path)]
    found: list[Reason] = []
    answers: list[list[Reason]]
    wider = list(_branches(all_))
    for kind in _types(some):
        candidates = [branch for branch in wider if _takes(branch, kind)]
        answers = [_excess_of_type(kind, some, branch, path) for branch in candidates]
        if not answers:
            rule = "enum" if any(_values(branch) is not None for branch in wider) else "type"
            found.append((path, rule, f"may be {kind}, which is not taken"))
        elif all(answers):
            found += sorted(answers, key=len)[0]
    return found


def _excess_of_type(kind: str, some: Schema, branch: Schema, path: str) -> list[Reason]:
    narrow: Mapping[str, Any] = {} if isinstance(some, bool) else some
    wide: Mapping[str, Any] = {} if isinstance(branch, bool) else branch
    found: list[Reason] = []
    for keyword in sorted(KEYWORDS[kind] & set(wide)):
        ours, theirs = narrow.get(keyword), wide[keyword]
        if keyword in LOWEST and theirs > (0 if keyword != "minimum" else float("-inf")):
            if ours is None or ours < theirs:
                found.append((path, keyword, f"may be below {theirs}"))
        elif keyword in HIGHEST:
            if ours is None or ours > theirs:
                found.append((path, keyword, f"may be above {theirs}"))
        elif keyword in SAME and ours != theirs:
            found.append((path, keyword, f"need not have the {keyword} {theirs!r}"))
    if kind == "array" and narrow.get("maxItems") != 0:
        found += excess(narrow.get("items", True), wide.get("items", True), f"{path}[*]")
    if kind == "object":
        found += _excess_of_object(narrow, wide, path)
    return found


def _excess_of_object(narrow: Mapping[str, Any], wide: Mapping[str, Any], path: str) -> Iterator[Reason]:
    ours, theirs = narrow.get("properties", {}), wide.get("properties", {})
    others, taken = narrow.get("additionalProperties", True), wide.get("additionalProperties", True)
    for name in wide.get("required", ()):
        if name not in narrow.get("required", ()):
            yield f"{path}.{name}", "required", "may be missing"
    for name in sorted({*ours, *theirs}):
        left, right = ours.get(name, others), theirs.get(name, taken)
        if right is False and left is not False:
            yield f"{path}.{name}", "additionalProperties", "may be there, which is not taken"
        else:
            yield from excess(left, right, f"{path}.{name}")
    if taken is False and others is not False:
        yield f"{path}.*", "additionalProperties", "may be there, which is not taken"
    else:
        yield from excess(others, taken, f"{path}.*")


def _excess_of_values(some: Mapping[str, Any], all_: Schema, path: str) -> Iterator[Reason]:
    ours, theirs = validator(json.dumps(some)), validator(json.dumps(all_))
    for value in _values(some) or ():
        if ours.is_valid(value) and not theirs.is_valid(value):
            yield path, "enum", f"may be {json.dumps(value)}, which is not taken"


def _values(schema: Schema) -> list[Any] | None:
    if isinstance(schema, bool):
        return None
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _types(schema: Schema) -> list[str]:
    if isinstance(schema, bool) or "type" not in schema:
        return [kind for kind in KEYWORDS if kind != "integer"]
    kinds = [schema["type"]] if isinstance(schema["type"], str) else list(schema["type"])
    return [kind for kind in kinds if not (kind == "integer" and "number" in kinds)]


def _branches(schema: Schema) -> Iterator[Schema]:
    """The alternatives of a schema; _strange refuses what stands beside them."""
    if isinstance(schema, Mapping) and "anyOf" in schema:
        yield from chain.from_iterable(_branches(each) for each in schema["anyOf"])
    elif schema is not False:
        yield schema


def _takes(branch: Schema, kind: str) -> bool:
    if _values(branch) is not None:
        return False
    kinds = _types(branch)
    return kind in kinds or (kind == "integer" and "number" in kinds)


def _strange(schema: Schema) -> set[str]:
    """Keywords that are not understood, alone or beside each other."""
    if isinstance(schema, bool):
        return set()
    used = {word for word in schema if word not in ANNOTATIONS and not word.startswith("x-")}
    if "anyOf" in used and used != {"anyOf"}:
        return used
    nested = set().union(*(_strange(each) for each in schema.get("anyOf", ())))
    return (used - UNDERSTOOD) | nested


def _named(reason: Reason, mode: Mode) -> Break:
    path, rule, message = reason
    return Break(path=path, rule=rule, mode=mode, message=message)
