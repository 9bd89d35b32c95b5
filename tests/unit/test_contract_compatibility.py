"""A change that is called compatible never meets an instance that does not fit; every rule is shown to break once."""

import copy
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from migration_tools.contracts.compatibility import Mode, breaks, excess, tolerant
from migration_tools.contracts.validation import validator

# CONTRACT_EXAMPLES=5000 looks longer.
EXAMPLES = int(os.environ.get("CONTRACT_EXAMPLES", "60"))
NAMES = ("a", "b", "c")
STRINGS = {"pattern": ["^x", "x"], "format": ["uuid", "date"]}
Schema = Any


def valid(schema: Schema, instance: Any) -> bool:
    return bool(validator(json.dumps(schema)).is_valid(instance))


@st.composite
def scalars(draw: st.DrawFn) -> Schema:
    kind = draw(st.sampled_from(["string", "integer", "number", "boolean", "null", "enum", "const"]))
    if kind == "enum":
        return {"enum": draw(st.lists(values, min_size=1, max_size=3))}
    if kind == "const":
        return {"const": draw(values)}
    schema: dict[str, Any] = {"type": kind}
    if kind == "string":
        schema |= draw(bounds("minLength", "maxLength", st.integers(0, 3)))
        keyword = draw(st.sampled_from([None, "pattern", "format"]))
        if keyword:
            schema[keyword] = draw(st.sampled_from(STRINGS[keyword]))
    if kind in ("integer", "number"):
        schema |= draw(bounds("minimum", "maximum", st.integers(-2, 3)))
    return schema


@st.composite
def bounds(draw: st.DrawFn, low: str, high: str, numbers: st.SearchStrategy[int]) -> dict[str, int]:
    return draw(st.fixed_dictionaries({}, optional={low: numbers, high: numbers}))


values = st.none() | st.booleans() | st.integers(-3, 4) | st.sampled_from(["", "x", "xy", "2026-01-01"]) | st.just(1.5)


def nested(children: st.SearchStrategy[Schema]) -> st.SearchStrategy[Schema]:
    return objects(children) | arrays(children) | alternatives(children)


@st.composite
def objects(draw: st.DrawFn, children: st.SearchStrategy[Schema]) -> Schema:
    schema: dict[str, Any] = {"type": "object", "properties": draw(st.dictionaries(st.sampled_from(NAMES), children))}
    schema["required"] = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=2))
    others = draw(st.sampled_from(["closed", "open", "schema"]))
    if others != "open":
        schema["additionalProperties"] = False if others == "closed" else draw(children)
    return schema


@st.composite
def arrays(draw: st.DrawFn, children: st.SearchStrategy[Schema]) -> Schema:
    return {"type": "array", "items": draw(children), **draw(bounds("minItems", "maxItems", st.integers(0, 2)))}


@st.composite
def alternatives(draw: st.DrawFn, children: st.SearchStrategy[Schema]) -> Schema:
    if draw(st.booleans()):
        return {
            "type": draw(st.lists(st.sampled_from(["string", "null", "integer", "object"]), min_size=1, unique=True))
        }
    return {"anyOf": draw(st.lists(children, min_size=1, max_size=3))}


schemas = st.recursive(scalars() | st.booleans(), nested, max_leaves=5)
anything = st.recursive(
    values,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.sampled_from((*NAMES, "z")), each),
    max_leaves=5,
)


@st.composite
def instances(draw: st.DrawFn, schema: Schema) -> Any:
    """Something that is probably an instance; the test asks the validator."""
    if isinstance(schema, bool) or not schema:
        return draw(anything)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return draw(st.sampled_from(schema["enum"]))
    if "anyOf" in schema:
        return draw(instances(draw(st.sampled_from(schema["anyOf"]))))
    kinds = schema["type"]
    kind = kinds if isinstance(kinds, str) else draw(st.sampled_from(kinds))
    if kind == "object":
        made = {}
        for name in (*NAMES, "z"):
            given_schema = schema.get("properties", {}).get(name, schema.get("additionalProperties", True))
            if given_schema is not False and (name in schema.get("required", ()) or draw(st.booleans())):
                made[name] = draw(instances(given_schema))
        return made
    if kind == "array":
        return draw(
            st.lists(
                instances(schema.get("items", True)),
                min_size=(least := schema.get("minItems", 0)),
                max_size=max(least, 3),
            )
        )
    plain: dict[str, st.SearchStrategy[Any]] = {
        "string": st.sampled_from(["", "x", "xy", "xyz", "wxyz", "2026-01-01", "0199c0de-0000-7000-8000-000000000001"]),
        "integer": st.integers(-3, 4),
        "number": st.integers(-3, 4) | st.sampled_from([0.5, -1.5, 2.0, 3.5]),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return draw(plain[kind])


@st.composite
def changes(draw: st.DrawFn) -> tuple[Schema, Schema]:
    """A schema and a small change of it, or two that have nothing to do with each other."""
    old = draw(schemas)
    if draw(st.integers(0, 9)) == 0:
        return old, draw(schemas)
    new = copy.deepcopy(old)
    for _ in range(draw(st.integers(1, 2))):
        new = draw(mutated(new))
    return old, new


@st.composite
def mutated(draw: st.DrawFn, schema: Schema) -> Schema:
    if isinstance(schema, bool) or draw(st.integers(0, 7)) == 0:
        return draw(st.sampled_from([{"anyOf": [schema, draw(scalars())]}, draw(scalars()), True]))
    inside = [
        word
        for word in ("properties", "items", "additionalProperties", "anyOf")
        if isinstance(schema.get(word), dict | list)
    ]
    if inside and draw(st.integers(0, 2)):
        word = draw(st.sampled_from(inside))
        part = schema[word]
        if word == "properties":
            name = draw(st.sampled_from(NAMES))
            if name in part and draw(st.booleans()):
                return {**schema, word: {**part, name: draw(mutated(part[name]))}}
            fewer = {key: each for key, each in part.items() if key != name}
            return {**schema, word: fewer if name in part else {**part, name: draw(scalars())}}
        if word == "anyOf":
            place = draw(st.integers(0, len(part) - 1))
            return {**schema, word: [draw(mutated(each)) if n == place else each for n, each in enumerate(part)]}
        return {**schema, word: draw(mutated(part))}
    word = draw(st.sampled_from(sorted(schema)))
    match schema[word]:
        case int() as number if not isinstance(number, bool):
            moved = number + draw(st.sampled_from([-1, 1]))
            return {**schema, word: moved if word in ("minimum", "maximum") else abs(moved)}
        case list() as some if word in ("required", "enum") and len(some) > 1:
            return {**schema, word: some[1:]}
        case list() if word == "required":
            return {**schema, word: [draw(st.sampled_from(NAMES))]}
        case "integer":
            return {**schema, word: "number"}
        case "number":
            return {**schema, word: "integer"}
        case _ if word not in ("type", "enum", "const", "anyOf"):
            return {key: each for key, each in schema.items() if key != word}
    return {**schema, "minLength": draw(st.integers(0, 2))} if schema.get("type") == "string" else schema


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes(), st.data())
def test_what_is_called_compatible_takes_every_instance(change: tuple[Schema, Schema], data: st.DataObject) -> None:
    old, new = change
    reader = tolerant(old)
    backward, forward = not breaks(old, new, Mode.BACKWARD), not breaks(old, new, Mode.FORWARD)
    assume(old != new and (backward or forward))
    if backward:
        instance = data.draw(instances(old))
        assume(valid(old, instance))
        event("backward")
        assert valid(new, instance), (old, new, instance)
    if forward:
        instance = data.draw(instances(new))
        assume(valid(new, instance))
        event("forward")
        assert valid(reader, instance), (reader, new, instance)


@given(schemas)
def test_every_schema_is_compatible_with_itself_and_with_what_takes_everything(schema: Schema) -> None:
    assert breaks(schema, copy.deepcopy(schema), Mode.FULL) == []
    assert excess(schema, {}) == []


def thing(required: list[str] | None = None, *, open_: bool = False, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required or [], "additionalProperties": open_}


TEXT, WHOLE = {"type": "string"}, {"type": "integer"}


@pytest.mark.parametrize(
    ("old", "new", "mode", "path", "rule"),
    [
        (thing(a=TEXT), thing(["a"], a=TEXT), "backward", "$.a", "required"),
        (thing(["a"], a=TEXT), thing(a=TEXT), "forward", "$.a", "required"),
        (thing(a=TEXT), thing(a=WHOLE), "backward", "$.a", "type"),
        (thing(a=WHOLE), thing(a={"type": "number"}), "forward", "$.a", "type"),
        (thing(a=TEXT), thing(), "backward", "$.a", "additionalProperties"),
        (thing(open_=True), thing(a=TEXT), "backward", "$.*", "additionalProperties"),
        (thing(open_=True), thing(a=TEXT, open_=True), "backward", "$.a", "type"),
        (thing(a={"enum": ["x", "y"]}), thing(a={"enum": ["x"]}), "backward", "$.a", "enum"),
        (thing(a={"enum": ["x"]}), thing(a={"enum": ["x", "y"]}), "forward", "$.a", "enum"),
        (thing(a=TEXT), thing(a={"enum": ["x"]}), "backward", "$.a", "enum"),
        (thing(a={"const": 1}), thing(a={"const": 2}), "backward", "$.a", "enum"),
        (thing(a={"anyOf": [TEXT, {"type": "null"}]}), thing(a=TEXT), "backward", "$.a", "type"),
        (thing(a={"type": ["string", "null"]}), thing(a=TEXT), "backward", "$.a", "type"),
        (thing(a=TEXT), thing(a={**TEXT, "minLength": 1}), "backward", "$.a", "minLength"),
        (thing(a={**TEXT, "maxLength": 9}), thing(a={**TEXT, "maxLength": 8}), "backward", "$.a", "maxLength"),
        (thing(a={**TEXT, "maxLength": 9}), thing(a=TEXT), "forward", "$.a", "maxLength"),
        (thing(a=TEXT), thing(a={**TEXT, "pattern": "^x"}), "backward", "$.a", "pattern"),
        (thing(a=TEXT), thing(a={**TEXT, "format": "uuid"}), "backward", "$.a", "format"),
        (thing(a=WHOLE), thing(a={**WHOLE, "minimum": 0}), "backward", "$.a", "minimum"),
        (thing(a=WHOLE), thing(a={**WHOLE, "maximum": 0}), "backward", "$.a", "maximum"),
        (
            thing(a={"type": "array", "items": thing(b=TEXT)}),
            thing(a={"type": "array", "items": thing(b=WHOLE)}),
            "backward",
            "$.a[*].b",
            "type",
        ),
        (
            thing(a={"type": "array", "items": TEXT}),
            thing(a={"type": "array", "items": TEXT, "minItems": 1}),
            "backward",
            "$.a",
            "minItems",
        ),
        (
            thing(a={"type": "array", "items": TEXT}),
            thing(a={"type": "array", "items": TEXT, "maxItems": 1}),
            "backward",
            "$.a",
            "maxItems",
        ),
        (thing(a=TEXT), thing(a={"not": TEXT}), "backward", "$.a", "not"),
        (thing(a={"patternProperties": {}}), thing(a={"type": "object"}), "backward", "$.a", "patternProperties"),
        (thing(a=TEXT), thing(a={"anyOf": [TEXT], "maxLength": 2}), "backward", "$.a", "anyOf"),
        (thing(a=TEXT), thing(a=False), "backward", "$.a", "additionalProperties"),
    ],
)
def test_a_break_is_named_by_path_rule_and_direction(old: Schema, new: Schema, mode: str, path: str, rule: str) -> None:
    found = breaks(old, new, Mode.FULL)
    assert (mode, path, rule) in {(each.mode.value, each.path, each.rule) for each in found}
    assert {each.mode.value for each in breaks(old, new, Mode(mode))} == {mode}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (thing(["a"], a=TEXT), thing(["a"], a=TEXT, b=WHOLE)),
        (thing(a={**TEXT, "title": "A"}), thing(a={**TEXT, "x-type": "text"})),
        (thing(a={"anyOf": [TEXT, WHOLE]}), thing(a={"type": ["integer", "string"]})),
        (thing(a={"const": "x"}), thing(a={"enum": ["x"]})),
    ],
)
def test_harmless_changes_are_compatible_both_ways(old: Schema, new: Schema) -> None:
    assert breaks(old, new, Mode.FULL) == []
