"""What is wrong with a saga is said all at once, by `manage.py check` and at its start; planted faults are found."""

import dataclasses
import datetime as dt
import http.client
import socket
import urllib.parse
import urllib.request
from typing import Any

import pytest
from django.core import checks

from migration_tools.errors import SagaError
from migration_tools.sagas import choreography, participant, registry
from migration_tools.sagas.choreography import originates, reacts
from migration_tools.sagas.declaring import declare
from migration_tools.sagas.definition import NOTHING, LocalStep, Retry, Saga, Step
from migration_tools.sagas.flow import find_faults, from_json, hops, to_json
from migration_tools.sagas.guard import SynchronousStep, allowing_connections, only_database
from migration_tools.sagas.http_calls import names_of_clients
from migration_tools.sagas.participant import Command, performs
from migration_tools.sagas.registry import refuse_mistaken
from migration_tools.sagas.validation import find_mistakes
from tests.sagas import services
from tests.sagas.definitions import ORDER, TRANSFER


@pytest.fixture
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registries of this test's own."""
    for module, name in ((registry, "_declared"), (participant, "_participants"), (choreography, "_reactions")):
        monkeypatch.setattr(module, name, {})


def asked(name: str, **more: Any) -> Step:
    return Step(name, **{"command": f"a.{name}", "compensation": f"a.un{name}", "replies": "a"} | more)


def local(step: LocalStep) -> None:
    """Nothing."""


def found(*steps: Step, **more: Any) -> list[str]:
    saga = Saga(more.pop("name", "trip"), **{"stream": "trips", "steps": steps} | more)
    return [f"{mistake.id} {mistake.text}" for mistake in find_mistakes(saga)]


def test_the_sagas_of_the_seeds_have_no_mistakes() -> None:
    assert [find_mistakes(saga) for saga in (ORDER, TRANSFER, services.SHOP_ORDER, services.SHOP_TRANSFER)] == [[]] * 4


@pytest.mark.parametrize(
    ("steps", "more", "said"),
    [
        ((asked("book", compensation=""), asked("pay")), {}, "E081.*'book' stands before the pivot and has no compen"),
        ((Step("book", local=local), asked("pay", pivot=True, compensation="")), {}, "E081.*has no undo="),
        ((asked("pay", pivot=True),), {}, "E081.*behind the pivot nothing is undone"),
        ((asked("pay", compensation=""),), {}, "E081.*'pay' stands before"),
        ((asked("a"), asked("a", command="b", compensation="c")), {}, "E080.*2 steps called 'a'"),
        ((asked("a"), asked("b", command="a.a")), {}, "E080.*uses 'a.a' 2 times"),
        ((asked("a", replies=""),), {}, "E080.*no replies="),
        ((Step("a"),), {}, "E080.*either command= .* or local="),
        ((Step("a", local=local, undo=local, replies="x"),), {}, "E080.*neither compensation= nor replies="),
        ((asked("a", undo=local),), {}, "E080.*compensation=, not undo="),
        ((asked("a", command="A b"),), {}, "E080.*names the event 'A b'"),
        ((asked("a", timeout=dt.timedelta(0)),), {}, "E080.*timeout 0:00:00"),
        ((asked("a", retry=Retry(attempts=0)),), {}, "E080.*0 attempts"),
        ((asked("a", retry=Retry(longest=dt.timedelta(0))),), {}, "E080.*first is not above longest"),
        ((asked("A"),), {}, "E080.*step 'A'.*lower-case"),
        ((), {}, "E080.*no steps"),
        ((asked("a"),), {"stream": ""}, "E080.*no stream"),
        ((asked("a"),), {"name": "Trip"}, "E080.*saga 'Trip'"),
        ((asked("a"),), {"version": 0}, "E080.*version 0"),
        ((asked("a"),), {"alarm_after": dt.timedelta(0)}, "E080.*alarm_after"),
        (
            (asked("a", pivot=True, compensation=""), asked("b", pivot=True, compensation="")),
            {},
            r"E080.*pivots \['a', 'b'\]",
        ),
    ],
)
def test_a_planted_mistake_is_found(steps: Any, more: Any, said: str) -> None:
    import re

    assert [text for text in found(*steps, **more) if re.search(said, text)], found(*steps, **more)


def test_a_step_that_leaves_nothing_behind_says_so() -> None:
    assert found(asked("ask", compensation=NOTHING), Step("end", local=local)) == []


@pytest.mark.usefixtures("nothing_declared")
def test_all_mistakes_are_reported_together_by_the_check_and_at_the_start() -> None:
    saga = declare(Saga("trip", stream="", steps=(asked("book", compensation=""), asked("pay", replies=""))))
    reported = [message for message in checks.run_checks(tags=["strangle"]) if "trip" in message.msg]
    assert [message.id for message in reported] == ["strangle.E080", "strangle.E080", "strangle.E081"]
    with pytest.raises(SagaError, match=r"(?s)nothing was done.*1\. .*2\. .*3\. "):
        refuse_mistaken(saga)


@pytest.mark.usefixtures("nothing_declared")
def test_two_definitions_of_one_version_are_refused() -> None:
    declare(ORDER)
    declare(ORDER)
    with pytest.raises(SagaError, match="raise the version"):
        declare(dataclasses.replace(ORDER, steps=ORDER.steps[:1]))
    with pytest.raises(SagaError, match=r"version 2 is not declared here, only \['order 1'\]"):
        registry.find("order", 2)


def fetch_price(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        return bytes(answer.read())


@pytest.mark.usefixtures("nothing_declared")
def test_a_step_that_calls_a_server_is_found_without_running_it() -> None:
    """The call stands in a function that the step calls, or is imported only when the step runs."""

    @performs("a.price", stream="trips", replies="a")
    def price(command: Command) -> dict[str, str]:
        return {"price": fetch_price("http://prices").decode()}

    @performs("a.book", stream="trips", replies="a")
    def book(command: Command) -> None:
        import httpx2

        httpx2.post("http://hotel")

    said = [message for message in checks.run_checks(tags=["strangle"]) if message.id == "strangle.E082"]
    assert [message.msg.partition(",")[0] for message in said] == [
        "the participant of 'a.book' uses httpx2 in "
        "test_a_step_that_calls_a_server_is_found_without_running_it.<locals>.book",
        "the participant of 'a.price' uses urllib.request in fetch_price",
    ]


def test_no_step_of_the_tests_calls_a_server() -> None:
    assert names_of_clients(lambda: urllib.parse.quote("ä")) == []
    from migration_tools.sagas.checks import check_calls

    assert check_calls(None) == []


def connect_to(port: int) -> None:
    with socket.socket() as caller:
        caller.connect(("127.0.0.1", port))


@pytest.mark.parametrize(
    "call",
    [
        lambda port: urllib.request.urlopen(f"http://127.0.0.1:{port}/"),
        connect_to,
        lambda port: http.client.HTTPConnection("127.0.0.1", port).request("GET", "/"),
    ],
    ids=["urllib", "a socket", "http.client"],
)
def test_a_call_inside_a_step_is_refused_when_it_runs(call: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with only_database("step 'pay'"), pytest.raises(SynchronousStep, match="step 'pay' opens a connection"):
            call(port)
        with only_database("step 'pay'"), allowing_connections("a metric may be lost"):
            socket.create_connection(("127.0.0.1", port), 1).close()
        socket.create_connection(("127.0.0.1", port), 1).close()
    with pytest.raises(SagaError, match="needs a reason"), allowing_connections(" "):
        pass


def test_the_flow_of_the_order_by_events_has_no_fault_and_survives_json() -> None:
    of_it = [each for each in choreography.reactions() if each.saga == "shop_order_by_events"]
    made = hops(of_it, "shop")
    assert len(made) == 9
    assert find_faults(made) == []
    assert from_json(to_json(made)) == made


@pytest.mark.usefixtures("nothing_declared")
def test_reactions_in_a_circle_are_found() -> None:
    def none(command: Command) -> None:
        """Nothing."""

    originates("a", saga="trip", step="begin", stream="s", nothing_left=True)
    for number, (takes, emits) in enumerate([("a", "b"), ("b", "c"), ("c", "a")]):
        reacts(takes, stream="s", saga="trip", step=f"s{number}", emits=emits, publishes_on="s", nothing_left=True)(
            none
        )
    said = [message for message in checks.run_checks(tags=["strangle"]) if message.id == "strangle.E083"]
    assert [message.msg for message in said] == [
        "saga 'trip' runs in a circle: a → b → c → a; one of them must end the saga"
    ]


@pytest.mark.parametrize(
    ("left_out", "said"),
    [
        ("payment.refused", "when 'payments' refuses 'pay' (payment.refused), nothing undoes 'reserve'"),
        ("inventory.refused", "when 'inventory' refuses 'reserve' (inventory.refused), nothing undoes 'create'"),
        ("order.unconfirmed", "when 'orders' refuses 'confirm' (order.unconfirmed), nothing undoes 'pay'"),
        ("payment.refunded", "when 'orders' refuses 'confirm' (order.unconfirmed), nothing undoes 'reserve'"),
    ],
)
def test_a_missing_way_back_is_found(left_out: str, said: str) -> None:
    owners = {"create": "orders", "confirm": "orders", "reserve": "inventory", "pay": "payments"}
    made = [
        hop
        for each in choreography.reactions()
        if each.saga == "shop_order_by_events" and each.takes != left_out
        for hop in hops([each], owners[each.step])
    ]
    assert any(said in fault.text for fault in find_faults(made)), find_faults(made)


@pytest.mark.usefixtures("nothing_declared")
def test_a_reaction_says_what_it_does_and_no_undoing_is_refused() -> None:
    with pytest.raises(SagaError, match="either step= or undoes="):
        reacts("a", stream="s", saga="trip", publishes_on="s")
    with pytest.raises(SagaError, match="leave fails= out"):
        reacts("a", stream="s", saga="trip", publishes_on="s", undoes="b", fails="c")
