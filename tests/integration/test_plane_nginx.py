"""The routing table on a real nginx: its own hash, sticky and growing; a hold that refuses instead of waiting."""

import subprocess
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from migration_tools.errors import RoutingError
from migration_tools.routing.planes import nginx
from migration_tools.routing.planes.writing import write_files
from migration_tools.routing.rules import ReadRule
from migration_tools.routing.table import (
    ensure_context,
    parse_document,
    reader_side,
    side_for,
    with_reads,
    with_rule,
    with_shadow,
    with_writes,
)
from tests.integration.plane_rig import (
    Plane,
    documents,
    nginx_command,
    plane,
    reload_nginx,
    start_nginx,
    target_in,
)

pytestmark = pytest.mark.thorough


@pytest.fixture
def made() -> Iterator[Plane]:
    with plane() as found:
        yield found


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(document=documents())
def test_whatever_the_table_may_hold_nginx_accepts(document: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory(prefix="sx") as directory:
        write_files(directory, nginx.render(parse_document(document), target_in(directory)))
        done = subprocess.run([*nginx_command(directory), "-t"], capture_output=True, text=True, check=False)
    assert (done.returncode, "[warn]" in done.stderr) == (0, False), done.stderr


def test_a_share_is_kept_and_nobody_falls_back_while_it_grows(made: Plane) -> None:
    start_nginx(made)
    keys = [f"user-{number}" for number in range(400)]
    before: set[str] = set()
    for percent in (10, 50, 100):
        made.change(lambda table, percent=percent: with_reads(table, "orders", percent))
        reload_nginx(made)
        now = {key for key in keys if made.side_of(key) == "new"}
        # Four standard deviations of a draw of 400.
        assert abs(len(now) - 4 * percent) <= 4 * (400 * percent * (100 - percent) / 10_000) ** 0.5
        assert before <= now
        before = now
    made.change(lambda table: with_reads(table, "orders", 50))
    reload_nginx(made)
    sides = {key: made.side_of(key) for key in keys}
    assert sides != {key: side_for(made.table, key, "orders") for key in keys}, "its hash is not Envoy's"


def test_a_first_visit_gets_the_cookie_that_keeps_its_side(made: Plane) -> None:
    made.change(lambda table: with_reads(table, "orders", 50))
    start_nginx(made)
    seen = set()
    for _ in range(30):
        answer = made.ask("GET", "/api/orders/1", {"x-strangler-user": "7", "x-real-ip": "6.6.6.6"})
        assert answer.side == made.side_of(answer.cookies()["sx_bucket"])
        assert {"x-strangler-user", "x-real-ip"} & answer.document["headers"].keys() == set()
        seen.add(answer.side)
    assert seen == {"old", "new"}


def test_rules_and_pins_are_obeyed_as_python_says(made: Plane) -> None:
    for rule in (
        ReadRule(side="new", headers={"x-beta": "default"}, methods=("GET",)),
        ReadRule(side="old", path="/api/orders/$HOME'x"),
        ReadRule(side="new", path="/api/orders/search", cohort="a.b"),
        ReadRule(side="new", cookies={"a.b-c": "include"}),
    ):
        made.change(lambda table, rule=rule: with_rule(table, "orders", rule))
    made.change(lambda table: with_writes(with_reads(table, "orders", 0), "orders", "new"))
    made.change(lambda table: ensure_context(table, "returns", ["/api/orders/returns"], "orders"))
    start_nginx(made)
    asked = [
        ("GET", "/api/orders", {}, {}),
        ("GET", "/api/orders/1", {"x-beta": "default"}, {}),
        ("GET", "/api/orders/1", {"x-beta": "Default"}, {}),
        ("OPTIONS", "/api/orders/1", {"x-beta": "default"}, {}),
        ("GET", "/api/orders/$HOME'x/1", {"x-beta": "other"}, {}),
        ("GET", "/api/orders/search/1", {}, {"sx_cohort": "a.b"}),
        ("GET", "/api/orders/search/1", {}, {"sx_cohort": "axb"}),
        ("GET", "/api/orders/searches", {}, {"sx_cohort": "a.b"}),
        ("GET", "/api/orders/1", {}, {"z": "1", "a.b-c": "include"}),
        ("GET", "/api/orders/1", {}, {"sx_pin_orders": "1"}),
    ]
    for method, path, headers, cookies in asked:
        sent = {**headers, "Cookie": "; ".join(f"{name}={value}" for name, value in cookies.items())}
        expected = reader_side(made.table, "orders", method=method, path=path, headers=headers, cookies=cookies)
        answer = made.ask(method, path, sent if cookies else headers)
        assert answer.header("x-side") == expected, (method, path, headers, cookies)
    write = made.ask("POST", "/api/orders/", body=b"x")
    assert (write.side, write.cookies()) == ("new", {"sx_pin_orders": "1"})
    assert made.ask("POST", "/api/orders/returns/1", body=b"x").side == "old"
    assert made.ask("POST", "/api/ordersX", body=b"x").cookies() == {}


def test_held_writes_are_refused_with_the_time_to_try_again_and_reads_go_on(made: Plane) -> None:
    made.change(lambda table: with_writes(table, "orders", "hold", now="1"))
    start_nginx(made)
    answer = made.ask("POST", "/api/orders/", body=b"x")
    assert (answer.status, answer.header("retry-after"), made.old.writes + made.new.writes) == (503, "1", [])
    assert made.ask("GET", "/api/orders/").status == 200
    made.change(lambda table: with_writes(table, "orders", "new"))
    reload_nginx(made)
    assert made.ask("POST", "/api/orders/", body=b"x").side == "new"


def test_the_fence_s_marker_stays_inside_and_what_cannot_be_done_is_refused(made: Plane) -> None:
    start_nginx(made)
    made.old.fenced.set()
    answer = made.ask("POST", "/api/orders/", body=b"x")
    assert (answer.status, answer.header("x-strangler-fenced")) == (503, "")
    with pytest.raises(RoutingError, match="cannot shadow reads"):
        nginx.render(with_shadow(made.table, "orders", 5), made.target)
