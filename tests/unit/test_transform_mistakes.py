"""Wrong declarations of columns that Python makes, each refused with the remedy, before any database is asked."""

from typing import Any

import pytest
from django.db.models.functions import Upper

from migration_tools.playbook import Playbook, Projection, Transform
from migration_tools.playbook.validation import find_static_mistakes
from migration_tools.stores.python_values import JSON_NULL, Unfit, decoder, encode


def plain(value: Any) -> Any:
    """A right one."""
    return value


def mistakes(columns: dict[str, Any], key: dict[str, Any] | None = None) -> str:
    """What is said of a projection of orders with these columns."""
    projection = Projection("orders.Order", into="sales_order", key=key or {"id": "id"}, columns=columns)
    made = type("Made", (Playbook,), {"context": "made", "target": "orders", "projections": [projection]})
    return "\n".join(find_static_mistakes(made))


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Transform(lambda text: text, "note"), "cannot be found by its name"),
        (Transform(plain), "needs an input"),
        (Upper(Transform(plain, "note")), "must be the whole column"),
        (Transform(plain, Transform(plain, "note")), "let one function do both"),
        (Transform(plain, "notes"), "notes"),
    ],
    ids=["lambda", "no input", "inside", "nested", "no such field"],
)
def test_a_wrong_declaration_is_refused_with_the_remedy(column: Any, said: str) -> None:
    assert said in mistakes({"remark": column})


def test_a_right_declaration_is_not_refused() -> None:
    assert mistakes({"remark": Transform(plain, "note", "status")}) == ""


def test_a_function_must_not_change_the_key() -> None:
    assert "a function must not change a key" in mistakes({}, {"id": Transform(plain, "id")})
    assert "'id' is of the key, which stays as it is" in mistakes({"id": Transform(plain, "id")})


@pytest.mark.parametrize(
    ("value", "type_name"),
    [("a\0b", "text"), ("\ud800", "text"), ({"a": "\0"}, "jsonb"), (object(), "text"), ({1: 2}, "jsonb"),
     (float("nan"), "jsonb"), ([object()], "text[]")],
)  # fmt: skip
def test_what_no_column_holds_is_named_by_its_type_alone(value: Any, type_name: str) -> None:
    with pytest.raises(Unfit) as caught:
        encode(value, type_name)
    assert "a\0b" not in str(caught.value)


def test_a_datetime_is_not_given_a_time_zone_nor_robbed_of_one() -> None:
    naive, aware = (
        decoder("timestamp without time zone")("2026-01-02 03:04:05"),
        decoder("timestamp with time zone")("2026-01-02 03:04:05+00"),
    )
    for value, type_name in (
        (naive, "timestamp with time zone"),
        (aware, "timestamp without time zone"),
        (aware, "date"),
    ):
        with pytest.raises(Unfit, match="datetime"):
            encode(value, type_name)


@pytest.mark.parametrize("text", ["null", "1.00", "123456789012345678901234567890", "1e400", '{"a": [null, -0.0]}'])
def test_json_is_read_and_written_without_a_float(text: str) -> None:
    value = decoder("jsonb")(text)
    assert "float" not in repr([type(value)])
    written = encode(value, "jsonb")
    assert written is not None
    assert decoder("jsonb")(written) == value


def test_the_null_of_json_is_not_that_of_sql() -> None:
    assert decoder("jsonb")("null") is JSON_NULL
    assert encode(None, "jsonb") is None
