"""Contracts from declaration to release: breaks end with 3, gaps are refused, what does not fit is not published."""

import dataclasses
import enum
import json
import os
import uuid
from collections.abc import Callable, Iterator
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command
from django.db import transaction
from django.test import override_settings

from migration_tools.checks import check_contracts
from migration_tools.contracts import asyncapi, declaration, upcasting, validation
from migration_tools.contracts.declaration import Contract, declare, event
from migration_tools.contracts.shapes import schema_of
from migration_tools.contracts.upcasting import impurities, lift, upcasts
from migration_tools.errors import ContractError
from migration_tools.messaging import handlers
from migration_tools.messaging.envelope import Envelope
from migration_tools.messaging.handlers import UnknownVersion, find, handles
from migration_tools.messaging.models import Outbox
from migration_tools.messaging.outbox import publish
from migration_tools.playbook.row_contracts import row_contracts
from migration_tools.testing.deliveries import sample
from playbooks.orders import Orders
from tests.architecture.tree import ROOT

Run = Callable[..., str]


def thing(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


TEXT, WHOLE = {"type": "string"}, {"type": "integer"}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is declared but what the test declares."""
    for module in (declaration, upcasting, handlers):
        monkeypatch.setattr(module, "_registry", {})


@pytest.fixture
def run(alone: None, tmp_path: Path) -> Iterator[Run]:
    """strangle_contracts on a directory of the test's own."""

    def run(*args: str, side: str = "monolith") -> str:
        out = StringIO()
        with override_settings(MIGRATION_TOOLS={"SIDE": side}):
            call_command("strangle_contracts", *args, "--directory", str(tmp_path), stdout=out)
        return out.getvalue()

    return run


def declare_anew(version: int, schema: dict[str, Any]) -> None:
    declaration._registry.clear()
    declare("thing.made", stream="things", version=version, schema=schema)


def breaks(run: Run, *args: str, **options: str) -> list[tuple[str, str]]:
    out = StringIO()
    with pytest.raises(CommandError) as failure, override_settings(MIGRATION_TOOLS={"SIDE": "monolith"}):
        call_command(
            "strangle_contracts", *args, "--format", "json", "--directory", str(options.pop("directory")), stdout=out
        )
    assert failure.value.returncode == 3
    return [(each["path"], each["rule"]) for each in json.loads(out.getvalue())["breaks"]]


def test_a_break_against_the_released_version_ends_with_3_and_is_not_released(run: Run, tmp_path: Path) -> None:
    declare_anew(1, thing("a", a=TEXT))
    assert "thing.made/1.json" in run("release")
    declare_anew(1, thing("a", a=TEXT, b=WHOLE))
    assert "0 breaks" in run("check")
    assert "1.draft.json" in run("write")
    run("release")
    assert not list(tmp_path.glob("*/*.draft.json"))
    declare_anew(1, thing("a", "b", a=TEXT, b=WHOLE))
    assert breaks(run, "check", directory=tmp_path) == [("$.b", "backward/required")]
    assert "0 breaks (forward)" in run("check", "--mode", "forward")
    assert breaks(run, "release", directory=tmp_path) == [("$.b", "backward/required")]
    assert json.loads((tmp_path / "thing.made" / "1.json").read_text())["required"] == ["a"]


def test_a_new_version_needs_an_upcaster_proven_by_samples(run: Run, tmp_path: Path) -> None:
    declare_anew(1, thing("a", a=TEXT))
    run("release")
    declare_anew(3, thing("b", b=WHOLE))
    assert ("$", "number") in breaks(run, "check", directory=tmp_path)
    declare_anew(2, thing("b", b=WHOLE))
    assert breaks(run, "check", directory=tmp_path) == [("$", "upcaster")]

    @upcasts("thing.made", stream="things", since=1)
    def to_number(payload: dict[str, Any]) -> dict[str, Any]:
        return {"b": len(payload["a"])}

    assert breaks(run, "check", directory=tmp_path) == [("$", "golden")]
    golden = tmp_path / "thing.made" / "golden" / "1.json"
    golden.parent.mkdir()
    for wrong in ({"payload": {"a": 1}, "lifted": {"b": 1}}, {"payload": {"a": "xy"}, "lifted": {"b": 3}}):
        golden.write_text(json.dumps([wrong]))
        assert ("$", "golden") in breaks(run, "check", directory=tmp_path)
    golden.write_text(json.dumps([{"payload": {"a": "xy"}, "lifted": {"b": 2}}]))
    run("release")
    assert {path.name for path in (tmp_path / "thing.made").glob("*.json")} == {"1.json", "2.json"}
    declaration._registry.clear()
    assert breaks(run, "check", directory=tmp_path) == [("$", "removed")]
    assert "0 breaks" in run("check", side="another side"), "who never published it need not declare it"


def test_rows_that_break_are_released_as_a_new_version_only_when_accepted(run: Run, tmp_path: Path) -> None:
    with override_settings(MIGRATION_TOOLS={"SIDE": "monolith", "PLAYBOOKS": ["playbooks.orders"]}):
        words = ["--directory", str(tmp_path)]
        call_command("strangle_contracts", "release", *words, stdout=StringIO())
        released = tmp_path / "row.sales_order" / "1.json"
        document = json.loads(released.read_text())
        document["properties"]["left"] = {"type": "string"}
        document["required"].append("left")
        released.write_text(json.dumps(document))
        with pytest.raises(CommandError) as failure:
            call_command("strangle_contracts", "check", *words, stdout=StringIO())
        assert failure.value.returncode == 3
        with pytest.raises(CommandError, match="cannot be accepted"):
            call_command("strangle_contracts", "release", *words, "--accept", "order.placed", stdout=StringIO())
        call_command("strangle_contracts", "release", *words, "--accept", "row.sales_order", stdout=StringIO())
        assert (tmp_path / "row.sales_order" / "2.json").exists()
        call_command("strangle_contracts", "check", *words, stdout=StringIO())


def test_the_examples_contracts_are_released_as_they_are_declared(run: Run) -> None:
    rows = {contract.event_type: contract for contract in row_contracts(Orders)}
    assert rows["row.sales_order"].schema["properties"]["id"] == {
        "type": "string",
        "x-type": "BigAutoField",
        "pattern": "^-?[0-9]+$",
    }
    assert rows["row.sales_order"].schema["properties"]["customer_name"]["anyOf"][1] == {"type": "null"}
    files = {
        path.parent.name
        for path in (ROOT / "playbooks" / "contracts").glob("*/1.json")
        if json.loads(path.read_text())["x-stream"] == "orders"
    }
    assert files == {*rows, "order.placed", "order.paid", "order.shipped", "order.cancelled", "order.recorded"}


def test_both_sides_of_the_example_keep_their_contracts() -> None:
    from extracted_services.orders import contracts as service
    from legacy_monolith.orders import contracts as monolith

    out = StringIO()
    everything = [f"playbooks.{name}" for name in ("orders", "catalog", "inventory", "payments", "users")]
    with override_settings(MIGRATION_TOOLS={**django_settings.MIGRATION_TOOLS, "PLAYBOOKS": everything}):
        call_command("strangle_contracts", "check", "--directory", str(ROOT / "playbooks" / "contracts"), stdout=out)
    assert "0 breaks" in out.getvalue()
    for name in ("OrderPlaced", "OrderPaid", "OrderShipped", "OrderCancelled", "OrderRecorded"):
        assert schema_of(getattr(service, name)) == schema_of(getattr(monolith, name))


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Inner:
    number: int


@dataclasses.dataclass
class Everything:
    key: uuid.UUID
    price: Decimal
    colour: Colour
    size: Literal["s", "m"]
    parts: list[Inner]
    names: dict[str, str | None]
    code: Annotated[str, {"maxLength": 3}] = ""


@dataclasses.dataclass
class Endless:
    child: "Endless | None"


@dataclasses.dataclass
class Odd:
    thing: complex


def test_a_dataclass_becomes_a_closed_schema() -> None:
    schema = schema_of(Everything)
    assert schema["required"] == ["colour", "key", "names", "parts", "price", "size"]
    good = {
        "key": str(uuid.uuid4()),
        "price": "-1.50",
        "colour": "red",
        "size": "s",
        "parts": [{"number": 1}],
        "names": {"x": None},
    }
    text = json.dumps(schema)
    assert validation.faults_of(text, good) == []
    assert validation.faults_of(text, {**good, "more": 1}) == ["$: additionalProperties"]
    assert validation.faults_of(text, {**good, "parts": [{"number": "secret"}]}) == ["$.parts[0].number: type"]
    assert validation.faults_of(text, {**good, "code": "long"}) == ["$.code: maxLength"]
    assert validation.faults_of(text, {**good, "key": "secret"}) == ["$.key: format"]
    for kind, says in ((Endless, "holds itself"), (Odd, "has no JSON form"), (int, "no dataclass")):
        with pytest.raises(ContractError, match=says):
            schema_of(kind)


def test_what_does_not_fit_its_contract_is_not_published(alone: None, stage: Any) -> None:
    declare("thing.made", stream="orders", version=1, schema=thing("a", a=WHOLE))
    about: dict[str, Any] = {"aggregate_type": "thing", "aggregate_id": 1, "stream": "orders"}
    with transaction.atomic():
        with pytest.raises(ContractError, match=r"\$\.a: type; nothing was published") as refusal:
            publish("thing.made", payload={"a": "Ada"}, **about)
        with pytest.raises(ContractError, match=r"version 2 of 'thing.made' is not declared"):
            publish("thing.made", payload={"a": 1}, version=2, **about)
        publish("thing.made", payload={"a": 1}, **about)
        publish("thing.unknown", payload={"a": "x"}, **about)
    assert "Ada" not in str(refusal.value)
    assert Outbox.objects.filter(kind="e").count() == 2
    with pytest.raises(ContractError, match="two contracts"):
        declare("thing.made", stream="orders", version=1, schema=thing())


def test_events_that_cannot_be_checked_are_warned_of(alone: None, monkeypatch: pytest.MonkeyPatch) -> None:
    event("thing.made", stream="things")(Inner)
    assert check_contracts(None) == []
    monkeypatch.setitem(__import__("sys").modules, "jsonschema_rs", None)
    assert [each.id for each in check_contracts(None)] == ["strangle.W043"]


def made(version: int, **payload: Any) -> Envelope:
    return sample("thing.made", payload, stream="things", aggregate_type="thing", aggregate_id=1, version=version)


def test_old_events_reach_newer_handlers_lifted_step_by_step(alone: None) -> None:
    taken: list[tuple[int, dict[str, Any]]] = []

    @upcasts("thing.made", stream="things", since=1)
    def second(payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "b": 2}

    @handles("thing.made", stream="things", versions=(3, 3))
    def take(envelope: Envelope) -> None:
        taken.append((envelope.event_version, envelope.payload))

    with pytest.raises(UnknownVersion, match="version 1"):
        find(made(1, a=1))

    @upcasts("thing.made", stream="things", since=2)
    def third(payload: dict[str, Any]) -> dict[str, Any]:
        return {**payload, "c": 3}

    for each in (made(1, a=1), made(2, a=1), made(3, a=1)):
        for handler, lifted in find(each):
            handler.function(lifted)
    assert taken == [(3, {"a": 1, "b": 2, "c": 3}), (3, {"a": 1, "c": 3}), (3, {"a": 1})]
    with pytest.raises(UnknownVersion, match="version 4"):
        find(made(4))
    assert lift("things", "thing.made", {}, since=1, upto=5) is None
    with pytest.raises(ContractError, match="two upcasters"):
        upcasts("thing.made", stream="things", since=1)(third)


def test_a_module_that_does_not_know_a_version_parks_it_though_another_one_does(alone: None) -> None:
    def old(envelope: Envelope) -> None: ...

    def new(envelope: Envelope) -> None: ...

    new.__module__ = "another.app"
    handles("thing.made", stream="things", versions=(1, 1))(old)
    handles("thing.made", stream="things", versions=(1, 2))(new)
    assert len(find(made(1))) == 2
    with pytest.raises(UnknownVersion, match="test_contracts"):
        find(made(2))


def test_an_impure_upcaster_is_found() -> None:
    calls: list[int] = []

    def counts(payload: dict[str, Any]) -> dict[str, Any]:
        calls.append(1)
        return {"n": len(calls)}

    def changes(payload: dict[str, Any]) -> dict[str, Any]:
        payload["a"] = 2
        return payload

    assert impurities(counts, {"a": 1}) == ["it answers differently when asked again"]
    assert impurities(changes, {"a": 1}) == ["it changes its argument"]


def faults_of_document(document: dict[str, Any]) -> list[str]:
    """What AsyncAPI 3.0 asks of a document like ours; with ASYNCAPI_SCHEMA, a file, everything that it asks."""
    found = [word for word in ("asyncapi", "info", "channels", "operations") if word not in document]
    for name, operation in document.get("operations", {}).items():
        if operation["action"] not in ("send", "receive"):
            found.append(f"{name}: action")
        for reference in [operation["channel"], *operation["messages"]]:
            at: Any = document
            for part in reference["$ref"].removeprefix("#/").split("/"):
                at = at.get(part, {})
            if not at:
                found.append(f"{name}: {reference['$ref']} leads nowhere")
    if schema := os.environ.get("ASYNCAPI_SCHEMA"):
        found += validation.faults_of(Path(schema).read_text(), document)
    return found


def test_the_asyncapi_document_holds_together() -> None:
    out = StringIO()
    call_command("strangle_contracts", "asyncapi", stdout=out)
    document = json.loads(out.getvalue())
    assert faults_of_document(document) == []
    assert document["asyncapi"] == "3.0.0"
    assert set(document["channels"]["orders"]["messages"]) >= {"order.placed.v1", "order.paid.v1"}
    assert "receive.order.placed.v1" in document["operations"], "the monolith handles what the service publishes"
    document["operations"]["send.order.paid.v1"]["messages"][0]["$ref"] = "#/channels/orders/messages/gone"
    assert faults_of_document(document) != []


def test_a_handled_event_that_nobody_declares_here_is_in_the_document() -> None:
    contract = Contract(event_type="a b", stream="s", version=1, schema={}, rows=False)
    made = asyncapi.document([contract], [("s", "c", (1, 2), "m.f")], side="x", release="1")
    assert set(made["channels"]["s"]["messages"]) == {"a_b.v1", "c.v1", "c.v2"}
