"""Seams on real rows: the ORM before the cutover, HTTP after it, both compared, and no query past them."""

import json
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import httpx2
import pytest
from django.db import transaction
from django.template import Context as TemplateContext
from django.template import Engine

from legacy_monolith.accounts.models import User
from legacy_monolith.orders.models import Order, OrderLine
from legacy_monolith.orders.representation import OrderSerializer, represented
from migration_tools.errors import ExtractedModelQueried, SeamError
from migration_tools.routing import publishing
from migration_tools.routing.table import BUCKETS, RoutingTable, ensure_context, with_reads
from migration_tools.seams import Seam, remote_instance, seam
from migration_tools.seams.extracted import ExtractedGuard
from migration_tools.seams.purpose import old_tables_on_purpose
from migration_tools.seams.seam import seam_differed
from migration_tools.state.models import Context
from migration_tools.state.phase import Phase

ONE_ORDER = """
SELECT json_build_object(
    'id', o.id, 'public_id', public_id, 'user_id', customer_id, 'status', state, 'currency', currency, 'note', remark,
    'total', (total_cents / 100.0)::numeric(12, 2)::text, 'discount', (discount_cents / 100.0)::numeric(12, 2)::text,
    'client_reference', reference, 'shipping_address', ship_to::json,
    'placed_at', ordered_at, 'paid_at', paid_at, 'updated_at', modified_at,
    'lines', (SELECT json_agg(json_build_object(
        'id', i.id, 'product_id', product_id, 'quantity', qty, 'gift_message', gift_note,
        'unit_price', (unit_cents / 100.0)::numeric(12, 2)::text
    ) ORDER BY i.id) FROM sales_orderitem i WHERE i.order_public_id = o.public_id))
FROM sales_order o WHERE o.id = %s
"""


class Service(BaseHTTPRequestHandler):
    """GET /orders/<id>/ from the service's own database, as it names its columns."""

    database: ClassVar[Any] = None
    writes: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        key = int(self.path.strip("/").rpartition("/")[2])
        with self.database() as conn:
            row = conn.execute(ONE_ORDER, [key]).fetchone()
        body = json.dumps(row[0]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.writes.append(self.path)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        """Quiet."""


class LocalOrders:
    """The ORM."""

    def get(self, key: int) -> Order:
        return represented().get(pk=key)

    def annotate(self, key: int, note: str) -> None:
        Order.objects.filter(pk=key).update(note=note)


class RemoteOrders:
    """HTTP, to whatever address the test's service has."""

    url: ClassVar[str] = ""

    def get(self, key: int) -> Order:
        told = httpx2.get(f"{self.url}/orders/{key}/").raise_for_status().json()
        lines = [remote_instance(OrderLine, line | {"order_id": told["id"]}) for line in told.pop("lines")]
        return remote_instance(Order, told, related={"lines": lines})

    def annotate(self, key: int, note: str) -> None:
        httpx2.post(f"{self.url}/orders/{key}/{note}/").raise_for_status()


class Orders(Seam):
    """The shop's orders."""

    context = "orders"
    local = LocalOrders
    remote = RemoteOrders
    reads = ("get",)
    compared = ("get",)


@pytest.fixture
def shop(stage: Any) -> Iterator[Any]:
    """Both sides with the same rows, and the service answering."""
    stage.settle()
    stage.backfill()
    Service.database = staticmethod(lambda: stage.pair.connect("orders"))
    Service.writes = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    RemoteOrders.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield stage
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def differences() -> Iterator[list[Any]]:
    """What compare mode has recorded."""
    found: list[Any] = []

    def note(method: str, differences: Any, error: Any, **kwargs: Any) -> None:
        found.append((method, differences, error))

    seam_differed.connect(note, sender=Orders)
    try:
        yield found
    finally:
        seam_differed.disconnect(note, sender=Orders)


def in_phase(phase: Phase) -> None:
    Context.objects.update_or_create(name="orders", defaults={"phase": phase})


def some_order() -> int:
    return int(OrderLine.objects.order_by("order_id").values_list("order_id", flat=True)[0])


def test_both_adapters_give_the_same_instances_to_templates_and_serializers(shop: Any, differences: list[Any]) -> None:
    key = some_order()
    in_phase(Phase.VERIFY)
    local = seam("orders").get(key)
    in_phase(Phase.CUTOVER)
    remote = seam("orders").get(key)
    assert isinstance(remote, Order)
    assert not hasattr(local.save, "func")
    template = Engine().from_string(
        "{{ o.status }} {% for l in o.lines.all %}{{ l.quantity }}x{{ l.product_id }} {% endfor %}"
    )
    assert template.render(TemplateContext({"o": remote})) == template.render(TemplateContext({"o": local}))
    told = OrderSerializer(remote).data
    assert told["total"] == OrderSerializer(local).data["total"]
    assert [line["unit_price"] for line in told["lines"]] == ["3.10"] * len(told["lines"]) != []
    assert differences == []
    for verb in (remote.save, remote.delete, remote.lines.all()[0].save):
        with pytest.raises(SeamError, match="its owner writes it"):
            verb()


def test_reads_follow_the_share_and_writes_the_owner(shop: Any) -> None:
    key = some_order()
    routed = ensure_context(RoutingTable(version=1), "orders", ["/api/orders/"], "orders")

    def remotely() -> bool:
        return hasattr(seam("orders", User.objects.first()).get(key).save, "func")

    in_phase(Phase.SWITCH_READS)
    for share, remote in ((0, False), (BUCKETS, True)):
        publish(with_reads(routed, "orders", 100 * share // BUCKETS))
        assert remotely() is remote
        seam("orders").annotate(key, "still-here")
    assert Service.writes == []
    assert Order.objects.get(pk=key).note == "still-here"
    in_phase(Phase.CUTOVER)
    seam("orders").annotate(key, "moved")
    assert Service.writes == [f"/orders/{key}/moved/"]


def publish(table: RoutingTable) -> None:
    publishing.publish(lambda before: table, author="test", reason="test")


def test_a_difference_is_recorded_the_old_answer_is_given_and_the_candidate_changes_nothing(
    shop: Any, differences: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    key = some_order()
    in_phase(Phase.VERIFY)
    with shop.pair.connect("orders") as conn:
        conn.execute("SELECT set_config('strangle.applying', 'row', false)")
        conn.execute("UPDATE sales_order SET remark = 'planted' WHERE id = %s", [key])
    assert seam("orders").get(key).note != "planted"
    assert differences == [("get", [("$.note", "changed")], None)] or differences[0][1][0][1] in ("changed", "extra")
    assert "planted" not in caplog.text
    RemoteOrders.url = "http://127.0.0.1:1"
    assert seam("orders").get(key).pk == key
    assert isinstance(differences[1][2], httpx2.ConnectError)


told_after_the_commit: list[int] = []


def looked_at(key: int) -> Order:
    """As careless monoliths have it: who looks at an order writes, and tells others when it is committed."""
    order = represented().get(pk=key)
    order.note = "seen"
    order.save(update_fields=["note"])
    User.objects.create_user(f"seen{key}@example.com")
    transaction.on_commit(lambda: told_after_the_commit.append(key))
    return order


class CarelessLocal(LocalOrders):
    """Writes when it is asked."""

    def get(self, key: int) -> Order:
        return looked_at(key)


class CarelessRemote(RemoteOrders):
    """Leaves something of its own in the monolith when it is asked."""

    def get(self, key: int) -> Order:
        return looked_at(key)


@pytest.mark.parametrize("in_charge", [Phase.VERIFY, Phase.CUTOVER])
@pytest.mark.parametrize("within", ["a transaction of the caller", "none"])
def test_a_candidate_that_writes_is_rolled_back_its_difference_told_and_the_owner_s_answer_given(
    shop: Any, differences: list[Any], monkeypatch: pytest.MonkeyPatch, in_charge: Phase, within: str
) -> None:
    key = some_order()
    before = Order.objects.get(pk=key).note
    candidate = "remote" if in_charge is Phase.VERIFY else "local"
    monkeypatch.setattr(Orders, candidate, CarelessRemote if candidate == "remote" else CarelessLocal)
    told_after_the_commit.clear()
    in_phase(in_charge)
    with transaction.atomic() if within != "none" else nullcontext():
        User.objects.filter(pk=1).update(first_name="the caller's own")
        assert seam("orders").get(key).note == before
        assert Order.objects.get(pk=key).note == before
    [(method, found, error)] = differences
    assert (method, error) == ("get", None)
    assert "$.note" in [path for path, _ in found]
    with shop.pair.connect("shop") as conn:
        assert conn.execute("SELECT note FROM orders_order WHERE id = %s", [key]).fetchone() == (before,)
        assert conn.execute("SELECT first_name FROM accounts_user WHERE id = 1").fetchone() == ("the caller's own",)
    assert not User.objects.filter(email__startswith="seen").exists()
    assert told_after_the_commit == [], "what was to happen after the commit does not"


def test_a_candidate_whose_write_fails_breaks_no_transaction_of_the_caller(
    shop: Any, differences: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(RemoteOrders):
        def get(self, key: int) -> Order:
            Order.objects.filter(pk=key).update(status="x" * 500)
            raise AssertionError("not reached")

    monkeypatch.setattr(Orders, "remote", Failing)
    in_phase(Phase.VERIFY)
    with transaction.atomic():
        assert seam("orders").get(some_order()).pk == some_order()
        assert User.objects.count() == 20
    [(_, found, error)] = differences
    assert (found, type(error).__name__) == ([], "DataError")


def test_after_the_cutover_a_query_on_an_extracted_model_raises_with_the_call_to_use(shop: Any) -> None:
    key = some_order()
    guard = ExtractedGuard()
    guard.install()
    try:
        in_phase(Phase.SWITCH_READS)
        assert Order.objects.get(pk=key).pk == key
        in_phase(Phase.CUTOVER)
        guard._read_at = 0.0
        for query in (
            lambda: Order.objects.get(pk=key),
            lambda: User.objects.filter(orders__status="paid").count(),
            lambda: OrderLine.objects.filter(pk=key).delete(),
        ):
            with pytest.raises(
                ExtractedModelQueried,
                match=r"since the cutover of 'orders'.*seam\('orders'\)\.annotate\(\) or seam\('orders'\)\.get",
            ):
                query()
        assert User.objects.count() == 20
        with old_tables_on_purpose():
            assert Order.objects.filter(pk=key).exists()
        assert seam("orders").get(key).pk == key
    finally:
        guard.uninstall()


def test_mistakes_of_a_seam_are_told_at_once() -> None:
    with pytest.raises(SeamError) as refused:
        type("Bad", (Seam,), {"local": LocalOrders, "remote": object, "reads": ("find",), "compared": ("annotate",)})
    for said in ("no context", "only one has ['annotate', 'get']", "['find']", "compared names ['annotate']"):
        assert said in str(refused.value)
    with pytest.raises(SeamError, match="offers no 'find'; it offers annotate, get"):
        seam("orders").find(1)
    with pytest.raises(SeamError, match="no seam is declared for 'stock'; declared are"):
        seam("stock")
    with pytest.raises(SeamError, match=r"has no fields \['colour'\]"):
        remote_instance(Order, {"colour": "red"})
