"""Each playbook is valid, keeps its contracts, and carries its context through every phase and back, under writes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from django.core.checks import run_checks

from migration_tools.state.journal import phase_of
from tests.conftest import Cluster
from tests.services.rig import NAMES
from tests.services.road import PHASES, ROAD, Road, road

pytest_plugins = ["tests.services.rig"]

# Both sides of each context as the same columns, by hand: the comparison must not trust the code it checks.
SIDES = {
    "catalog": [
        ("SELECT id, name FROM catalog_category", "SELECT id, title FROM shelf_category"),
        (
            "SELECT id, sku, name, (price * 100)::bigint, currency::text, category_id, attributes::text, active "
            "FROM catalog_product",
            "SELECT id, code, title, price_cents, currency, category_id, features::text, on_sale FROM shelf_product",
        ),
    ],
    "inventory": [
        ("SELECT id, product_id, on_hand FROM inventory_stock", "SELECT id, product_id, on_hand FROM depot_stock"),
        (
            "SELECT id, product_id, order_id, delta, reason, created_at FROM inventory_movement",
            "SELECT id, product_id, order_number, quantity, reason, moved_at FROM depot_movement",
        ),
    ],
    "payments": [
        (
            "SELECT id, order_id, order_public_id, payer_id, (amount * 100)::bigint, status, created_at, updated_at "
            "FROM payments_payment",
            "SELECT id, order_number, order_public_id, payer_id, amount_cents, status, authorised_at, changed_at "
            "FROM billing_payment",
        )
    ],
    "users": [
        (
            "SELECT id, email, password, first_name, last_name, is_staff, is_superuser, is_active, last_login, "
            "date_joined FROM accounts_user",
            "SELECT id, email, password_hash, given_name, family_name, works_here, may_everything, active, "
            "last_seen_at, joined_at FROM people_person",
        )
    ],
}
OLD_WRITES = {
    "catalog": "UPDATE catalog_product SET price = price + 0.01, name = name || '!' WHERE id = 1 + %s %% 10",
    "inventory": """WITH moved AS (INSERT INTO inventory_movement (product_id, delta, reason, created_at)
        VALUES (1 + %s %% 10, 3, 'received', clock_timestamp()) RETURNING product_id, delta)
        UPDATE inventory_stock s SET on_hand = on_hand + delta FROM moved m WHERE m.product_id = s.product_id""",
    "payments": "UPDATE payments_payment SET status = 'captured', amount = amount + 0.01 WHERE id = 1 + %s %% 300",
    "users": "UPDATE accounts_user SET first_name = 'é' || left(first_name, 20) WHERE id = 1 + %s %% 20",
}
NEW_WRITES = {
    "catalog": """INSERT INTO shelf_product (code, title, price_cents, currency, category_id, features, on_sale)
        SELECT 'new' || n, 'New ñ', 1234, 'EUR', (SELECT min(id) FROM shelf_category), '{"a": [null]}', true
        FROM generate_series(1, 5) n""",
    "inventory": """INSERT INTO depot_movement (product_id, order_number, quantity, reason, moved_at)
        SELECT n, NULL, 7, 'received', now() FROM generate_series(1, 5) n""",
    "payments": """INSERT INTO billing_payment (order_number, order_public_id, payer_id, amount_cents, status,
        authorised_at, changed_at) SELECT n, gen_random_uuid(), 1, 1999, 'authorised', now(), now()
        FROM generate_series(1, 5) n""",
    "users": """INSERT INTO people_person (email, password_hash, given_name, family_name, works_here, may_everything,
        active, joined_at) SELECT 'new' || n || '@example.com', '!', 'New', 'ñ', false, false, true, now()
        FROM generate_series(1, 5) n""",
}


@pytest.fixture
def walked(
    request: pytest.FixtureRequest, cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any
) -> Iterator[Road]:
    """A context's road."""
    with django_db_blocker.unblock(), road(cluster, templates, request.param) as made:
        yield made


def differences(way: Road) -> list[tuple[str, Any, Any]]:
    """Rows that are not the same on both sides."""
    found = []
    for ours, theirs in SIDES[way.context]:
        left = {row[0]: row for row in way.shop.execute(ours.encode())}
        right = {row[0]: row for row in way.service.execute(theirs.encode())}
        assert left, ours
        found += [(ours[:30], left.get(k), right.get(k)) for k in left | right if left.get(k) != right.get(k)]
    return found


@contextmanager
def writing(way: Road, cluster: Cluster) -> Iterator[list[int]]:
    """Write to the monolith's tables as its web role until the block ends; what the fence refuses is counted."""
    stop, refused = threading.Event(), [0]
    dsn = cluster.dsn(str(way.shop.info.dbname), "shop_app")

    def write() -> None:
        with psycopg.connect(dsn, autocommit=True) as conn:
            number = 0
            while not stop.wait(0.005):
                number += 1
                try:
                    conn.execute(OLD_WRITES[way.context].encode(), [number])
                except psycopg.errors.OperationalError as error:
                    assert error.sqlstate == "40S01", error  # noqa: PT017
                    refused[0] += 1

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield refused
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    "walked",
    [pytest.param(name, marks=[] if name == "payments" else [pytest.mark.thorough]) for name in NAMES],
    indirect=True,
)
def test_a_context_is_carried_out_back_and_out_again_under_writes(walked: Road, cluster: Cluster) -> None:
    assert [str(each) for each in run_checks(tags=["strangle", "database"], databases=["default"])] == []
    with writing(walked, cluster) as refused:
        walked.go(*ROAD[:5])
        assert phase_of(walked.context) == "cutover"
        _await(lambda: refused[0] > 0)
    walked.service.execute(NEW_WRITES[walked.context].encode())
    walked.run("strangle_rollback")
    walked.run("strangle_verify")
    assert differences(walked) == []
    walked.go("strangle_verify", "strangle_cutover", "strangle_decommission")
    assert phase_of(walked.context) == "decommission"
    old = SIDES[walked.context][0][0].rpartition(" ")[2]
    assert walked.shop.execute("SELECT to_regclass(%s)", [f"public.{old}"]).fetchone() == (None,)


@pytest.mark.thorough
@pytest.mark.parametrize("walked", NAMES, indirect=True)
def test_every_phase_is_started_undone_and_started_again(walked: Road, cluster: Cluster) -> None:
    for step, command in enumerate(ROAD, 1):
        with writing(walked, cluster) if step < 6 else _quiet():
            again = ["strangle_verify"] if step in (4, 5) else []
            walked.go(command, "strangle_rollback")
            assert phase_of(walked.context) == PHASES[step - 1]
            walked.go(*again, command)
            assert phase_of(walked.context) == PHASES[step]
    walked.go(*["strangle_rollback"] * 6)
    assert phase_of(walked.context) == "monolith_only"


def _await(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.01)


@contextmanager
def _quiet() -> Iterator[None]:
    yield
