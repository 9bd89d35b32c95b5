"""strangle_sagas: what is stuck is listed with its reason, tried again or undone by command, and the flow is drawn."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from migration_tools.messaging.metrics import collect
from migration_tools.sagas import choreography
from migration_tools.sagas.flow import hops, to_json
from tests.sagas import services
from tests.sagas.tables import trouble
from tests.sagas.world import World


def run(world: World, *args: str, service: str = "orders") -> Any:
    """The command's JSON, as that service's operator gets it."""
    out = StringIO()
    with world.being(service):
        call_command("strangle_sagas", *args, "--format", "json", stdout=out)
    return json.loads(out.getvalue())


def text(world: World, *args: str) -> str:
    out = StringIO()
    with world.being("orders"):
        call_command("strangle_sagas", *args, stdout=out)
    return out.getvalue()


def transfer(world: World, balance: int = 1000) -> tuple[str, str, str]:
    a, b = world.account("payments", balance), world.account("inventory", 0)
    return world.begin(services.SHOP_TRANSFER, {"from": a, "to": b, "amount": 100}), a, b


def stuck(world: World) -> tuple[str, str, str]:
    """A transfer whose pivot fails again and again."""
    saga, a, b = transfer(world)
    trouble["credit_b"] = 1000
    world.settle(until=lambda: bool(world.one("orders", "SELECT alarm FROM saga_state WHERE saga_id = %s", saga)))
    return saga, a, b


def test_a_stuck_saga_is_listed_with_why_and_tried_again_when_it_is_mended(world: World) -> None:
    saga, a, b = stuck(world)
    [row] = [each for each in run(world, "list", "--stuck")["sagas"] if each["saga_id"] == saga]
    assert row["why"].startswith("step 'credit_b' was tried")
    assert row["why"].endswith("Broken")
    assert "! step 'credit_b' was tried" in text(world, "list")
    trouble.clear()
    told = run(world, "retry", saga, "--reason", "OPS-1, the bank answers again")
    assert told["message"] == "tried again; it is running"
    world.settle()
    assert world.status(saga) == "completed"
    assert (world.balance("payments", a), world.balance("inventory", b)) == (900, 100)
    assert [each for each in run(world, "list", "--stuck")["sagas"] if each["saga_id"] == saga] == []
    log = run(world, "show", saga)["log"]
    assert [each["reason"] for each in log if each["event"] == "retried"] == ["OPS-1, the bank answers again"]


def test_a_saga_is_undone_with_a_reason_before_its_pivot_and_not_behind_it(world: World) -> None:
    saga, a, _ = transfer(world)
    with pytest.raises(CommandError, match="needs --reason") as usage:
        run(world, "compensate", saga)
    assert usage.value.returncode == 2
    assert "would be undone" in run(world, "compensate", saga, "--reason", "x", "--dry-run")["message"]
    assert world.status(saga) == "running"
    told = run(world, "compensate", saga, "--reason", "OPS-2, a wrong account")
    assert told["message"] == "turned back; it is compensating"
    world.settle()
    assert world.status(saga) == "compensated"
    assert world.balance("payments", a) == 1000
    with pytest.raises(CommandError, match="is compensated; nothing was changed") as ended:
        run(world, "retry", saga)
    assert ended.value.returncode == 1
    behind, _, _ = stuck(world)
    with pytest.raises(CommandError, match="the pivot was asked for") as refused:
        run(world, "compensate", behind, "--reason", "OPS-3")
    assert refused.value.returncode == 4
    trouble.clear()
    world.settle()


def test_a_saga_that_is_open_for_too_long_is_stuck_without_having_failed(world: World) -> None:
    saga, _, _ = transfer(world)
    world.conns["orders"].execute("UPDATE saga_state SET alarm_at = now() WHERE saga_id = %s", [saga])
    [row] = [each for each in run(world, "list", "--stuck")["sagas"] if each["saga_id"] == saga]
    assert row["why"] == "it is open for longer than its definition expects"
    samples = {(each.name, each.labels.get("state")): each.value for each in collect(world.conns["orders"])}
    assert samples["strangle_sagas_stuck", None] >= 1
    assert samples["strangle_sagas", "running"] >= 1
    assert samples["strangle_sagas_oldest_age_seconds", None] > 0
    world.settle()


def test_what_a_saga_carries_is_hidden_until_it_is_asked_for(world: World) -> None:
    saga, a, _ = transfer(world)
    world.settle()
    assert a not in text(world, "show", saga)
    assert "values are hidden" in text(world, "show", saga)
    assert run(world, "show", saga, "--reveal")["payload"]["from"] == a
    log = [(each["event"], each["step"]) for each in run(world, "show", saga)["log"]]
    assert log == [("started", ""), ("asked", "debit_a"), ("done", "debit_a"), ("completed", "credit_b")]
    assert world.begin(services.SHOP_TRANSFER, {"from": a, "to": a, "amount": 1}) not in text(
        world, "list", "--context", "x"
    )
    world.settle()


@pytest.mark.parametrize(
    ("args", "said", "code"),
    [
        (["show", "0199c0de-0000-7000-8000-000000000001"], "orchestrates no saga", 1),
        (["show", "no-id"], "orchestrates no saga", 1),
        (["retry"], "take a saga's id", 2),
        (["list", "x"], "take a saga's id", 2),
        (["graph", "--with", "nowhere.json"], "is no flow", 1),
    ],
)
def test_what_cannot_be_done_says_so_and_ends_with_its_code(
    world: World, args: list[str], said: str, code: int
) -> None:
    with pytest.raises(CommandError, match=said) as refusal:
        run(world, *args)
    assert refusal.value.returncode == code


def test_the_graph_shows_the_flow_and_ends_with_1_when_a_way_back_is_missing(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Each service knows its own reactions; the others' come from files made by the same command."""
    everything = {key: each for key, each in choreography._reactions.items() if each.saga == "shop_order_by_events"}
    owner = {"create": "orders", "confirm": "orders", "reserve": "inventory", "pay": "payments"}

    def only(service: str, left_out: str = "") -> None:
        mine = {
            k: r for k, r in everything.items() if owner[r.step] == service and not (left_out and r.takes == left_out)
        }
        monkeypatch.setattr(choreography, "_reactions", mine)

    files = []
    for service in ("inventory", "payments"):
        only(service)
        files.append(tmp_path / f"{service}.json")
        files[-1].write_text(json.dumps(run(world, "graph", service=service)))
    only("orders")
    joined = [word for file in files for word in ("--with", str(file))]
    result = run(world, "graph", *joined)
    assert result["faults"] == []
    assert (
        "transfer 1: debit_a: bank_a.debit / bank_a.undo_debit → credit_b (pivot): bank_b.credit"
        in result["orchestrated"]
    )
    with world.being("orders"):
        out = StringIO()
        call_command("strangle_sagas", "graph", *joined, "--format", "mermaid", stdout=out)
    drawn = out.getvalue()
    assert drawn.startswith("flowchart TD")
    assert "payment_taken((payment.taken)) --> " in drawn
    assert "-. refused .-> order_unconfirmed" in drawn
    only("orders", left_out="inventory.released")
    with pytest.raises(CommandError, match="nothing undoes 'create' of 'orders'") as found:
        run(world, "graph", *joined)
    assert found.value.returncode == 1


def test_a_cycle_over_two_services_is_found_when_their_flows_are_joined(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(choreography, "_reactions", {})
    words: dict[str, Any] = {"saga": "ring", "publishes_on": "s", "stream": "s", "nothing_left": True}
    choreography.reacts("pong", step="ping", emits="ping", **words)(lambda command: None)
    theirs = hops(
        [
            choreography.Reaction(
                **{**vars(choreography.reactions()[0]), "step": "pong", "takes": "ping", "emits": "pong"}
            )
        ],
        "other",
    )
    (tmp_path / "other.json").write_text(json.dumps({"hops": to_json(theirs)}))
    with pytest.raises(CommandError, match="runs in a circle: ping → pong → ping"):
        run(world, "graph", "--with", str(tmp_path / "other.json"))
