"""Live sessions on their way between the table and Redis: nobody is logged out, nothing older comes back, no ghost."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection, connections, transaction
from django.utils import timezone

from legacy_monolith.testing import Shopper, make_product
from migration_tools.kernel import points
from migration_tools.routing.identity.sessions import session_user
from migration_tools.sessions.bridge import SessionStore
from migration_tools.sessions.redis_side import RedisSessions
from tests.conftest import Pair
from tests.races.scene import Background, beside, until
from tests.sessions_rig import Home, made, move, places, said, save

pytest_plugins = ["tests.sessions_rig"]

SECOND = timedelta(seconds=1)


class Killed(Exception):
    """Stands for the death of the process."""


def waits_for_a_lock() -> bool:
    with connections["default"].cursor() as cursor:
        # A transaction, as the move's is, sees one moment of pg_stat_activity: perhaps before the other one connected.
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute("""SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                          WHERE NOT l.granted AND a.datname = current_database()""")
        return bool(cursor.fetchone()[0])


def beginning(work: Callable[[], Any]) -> tuple[Callable[[], None], list[Background]]:
    """Something to do at a point: begin the work, and go on when it waits for a lock or is done."""
    begun: list[Background] = []

    def begin() -> None:
        if not begun:
            begun.append(Background(work))
            until(lambda: waits_for_a_lock() or not begun[0].running(), "the work waits or is done")

    return begin, begun


def once(work: Callable[[], Any]) -> Callable[[], None]:
    """Do the work to its end at the first passage, on a connection of its own."""
    done: list[bool] = []

    def act() -> None:
        if not done:
            done.append(True)
            Background(work).outcome()

    return act


def test_customers_shop_while_their_sessions_move_to_redis_and_back(home: Home) -> None:
    product = make_product()
    user = get_user_model().objects.create_user("ada@example.com", "long enough")
    login = {
        SESSION_KEY: str(user.pk),
        BACKEND_SESSION_KEY: "legacy_monolith.accounts.backend.CustomersBackend",
        HASH_SESSION_KEY: user.get_session_auth_hash(),
    }
    idle = {made(None, 600 + 37 * number, said=number, **login): number for number in range(40)}
    ends = dict(Session.objects.values_list("session_key", "expire_date"))
    carts: list[tuple[Shopper, int]] = []
    busy: dict[int, int] = {}

    def shop(stop: threading.Event) -> None:
        shopper, added = Shopper().sign_up(), 0
        while not stop.is_set():
            answer = shopper.get("/api/accounts/me/")
            assert (answer.status_code, answer.json().get("id")) == (200, shopper.id), answer.content
            token = shopper.client.cookies["csrftoken"].value
            form = {"action": "add", "product": product.pk, "csrfmiddlewaretoken": token}
            assert shopper.client.post("/cart/", form).status_code == 302
            added += 1
            assert shopper.client.session["cart"] == {str(product.pk): added}
            busy[shopper.id] = added
        carts.append((shopper, added))

    def still_logged_in() -> None:
        for key, number in idle.items():
            assert session_user(key) == user, key
            assert said(key) == number

    def moved(what: str) -> timedelta:
        """Move all; by how much a life may have changed meanwhile: by what the machine took, and a second."""
        began = timezone.now()
        until(lambda: move().moved == 0, what)
        return timezone.now() - began + SECOND

    with beside(shop, 2):
        home("redis")
        late = moved("all are in Redis")
        for key in idle:
            assert places(key) == (False, True)
            before = timezone.now()
            held = RedisSessions().hold(key)
            assert held is not None
            assert held.milliseconds is not None
            left = timedelta(milliseconds=held.milliseconds)
            assert before + left - late < ends[key] < timezone.now() + left + late
        still_logged_in()
        home("table")
        late += moved("all are in the table again")
        for key in idle:
            assert places(key) == (True, False)
            assert abs(Session.objects.get(pk=key).expire_date - ends[key]) < late
        still_logged_in()
        home("redis")
        move()
        until(lambda: sorted(added > 3 for added in busy.values()) == [True, True], "both shop")
    for shopper, added in carts:
        assert shopper.client.session["cart"] == {str(product.pk): added}
        assert shopper.get("/api/accounts/me/").json()["id"] == shopper.id


@pytest.mark.parametrize(("way", "point"), [
    ("redis", "sessions.rows_held"), ("redis", "sessions.keys_added"), ("table", "sessions.key_held"),
    ("table", "sessions.row_committed"),
])  # fmt: skip
class TestBeside:
    """What a customer does at each point of a move, in both directions."""

    @pytest.fixture
    def key(self, home: Home, way: str) -> str:
        """A session that is not at home."""
        if way == "table":
            home("redis")
            made_there = made(SessionStore, said="old")
            home("table")
            return made_there
        made_here = made(said="old")
        home("redis")
        return made_here

    def test_a_session_saved_while_it_is_moved_keeps_what_was_saved(self, key: str, way: str, point: str) -> None:
        begin, begun = beginning(lambda: save(key, said="new"))
        with points.on(point, begin):
            move()
        begun[0].outcome()
        move()
        assert said(key) == "new"
        assert places(key) == (way == "table", way == "redis")

    def test_who_logs_out_while_the_session_is_moved_stays_logged_out(self, key: str, way: str, point: str) -> None:
        elsewhere = SessionStore(key)
        assert elsewhere["said"] == "old"
        begin, begun = beginning(lambda: SessionStore(key).flush())
        with points.on(point, begin):
            move()
        begun[0].outcome()
        move()
        assert said(key) is None
        assert places(key) == (False, False)
        with pytest.raises(UpdateError):
            elsewhere.save()
        assert places(key) == (False, False)

    def test_a_move_cut_off_anywhere_is_gone_on_with_and_nobody_notices(self, key: str, way: str, point: str) -> None:
        def die() -> None:
            raise Killed

        with points.on(point, die), pytest.raises(Killed):
            move()
        assert said(key) == "old"
        save(key, said="new")
        assert said(key) == "new"
        assert move().left == 0
        assert said(key) == "new"
        assert places(key) == (way == "table", way == "redis")

    def test_who_is_between_two_reads_finds_the_session(self, key: str, way: str, point: str) -> None:
        with connection.execute_wrapper(lambda execute, *args: (once_moved(), execute(*args))[1]):
            once_moved = once(move)
            assert said(key) == "old"


def without_session_of_database(work: Callable[[], Any]) -> Callable[[], None]:
    """At a point of a move: its database session dies, and then somebody does the work."""
    mine = connections["default"]

    def strike() -> None:
        with mine.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            pid = cursor.fetchone()[0]

        def end_it_and_work() -> None:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            work()

        Background(end_it_and_work).outcome()

    return strike


def test_a_move_that_has_lost_its_locks_brings_nobody_and_nothing_back(pair: Pair, home: Home) -> None:
    left, changed = made(said="old"), made(said="old")
    home("redis")

    def work() -> None:
        SessionStore(left).flush()
        save(changed, said="new")

    with (
        points.on("sessions.rows_held", without_session_of_database(work)),
        pytest.raises(OperationalError),
    ):
        move()
    connections["default"].close()
    assert (said(left), said(changed)) == (None, "new")
    assert move().left == 0
    assert (said(left), said(changed)) == (None, "new")


@pytest.mark.parametrize("failed", [False, True])
def test_a_logout_in_an_open_transaction_is_waited_for(home: Home, failed: bool) -> None:
    key = made(said="old")
    home("redis")
    with transaction.atomic():
        SessionStore(key).flush()
        assert Background(move).outcome().left == 1
        transaction.set_rollback(failed)
    assert move().left == 0
    assert (said(key), places(key)) == (("old", (False, True)) if failed else (None, (False, False)))
