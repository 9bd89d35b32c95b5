"""A shadow request against the real monolith under gunicorn leaves nothing behind, whatever its view tries."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from tests.conftest import ROOT, SMALL_SHOP, Pair, cloned_pair
from tests.integration.proxy_rig import await_until

SHADOW = {"x-strangler-shadow": "1"}
KEY, OTHER_KEY = "the key of the monolith, long enough for Django", "the key of another side, long enough for Django"
STATE = """SELECT (SELECT count(*) FROM catalog_category), (SELECT md5(coalesce(string_agg(s::text, ',' ORDER BY
    session_key), '')) FROM django_session s), (SELECT max(last_login) FROM accounts_user),
    (SELECT count(*) FROM strangle_outbox)"""


@contextmanager
def served(pair: Pair, left: Path, key: str = KEY, **env: str) -> Iterator[str]:
    """Serve the site by gunicorn: one worker with one thread, so that every request has the same connection."""
    environment = pair.environment(user="shop_app") | {
        "DJANGO_SETTINGS_MODULE": "tests.integration.shadow_site",
        "SHADOW_TEST_DIRECTORY": str(left),
        "SHADOW_TEST_FALLBACKS": f"{KEY.replace(' ', '')} {OTHER_KEY.replace(' ', '')}",
        "SHOP_SECRET_KEY": key.replace(" ", ""),
        # A database that this process has in its settings and cannot reach.
        "ORDERS_DB_PORT": "1",
        **env,
    }
    with socket.create_server(("127.0.0.1", 0)) as listener, (left / "log").open("a") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "legacy_monolith.wsgi", "--threads", "1", "--worker-class", "gthread",
             "--bind", f"fd://{listener.fileno()}", "--no-control-socket"],
            cwd=ROOT, env={**os.environ, **environment}, stdout=output, stderr=output, pass_fds=[listener.fileno()],
        )  # fmt: skip
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="module")
def site(
    cluster: Any, templates: tuple[str, str], django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Pair, Path]]:
    left = tmp_path_factory.mktemp("left")
    (left / "tasks").mkdir()
    with ExitStack() as stack:
        pair = stack.enter_context(cloned_pair(cluster, templates, django_db_blocker))
        with pair.connect("shop") as conn:
            conn.execute(SMALL_SHOP)
        yield stack.enter_context(served(pair, left)), pair, left


@pytest.fixture
def client(site: tuple[str, Pair, Path]) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=site[0], timeout=30) as made:
        yield made


def signed_up(client: httpx2.Client) -> httpx2.Client:
    """Sign a new customer up; the client keeps the session as a browser does."""
    client.get("/api/csrf/")
    body = {"email": f"{os.urandom(4).hex()}@example.com", "password": "long enough", "first_name": "A"}
    body["last_name"] = "L"
    token = {"x-csrftoken": client.cookies["csrftoken"]}
    assert client.post("/api/accounts/signup/", json=body, headers=token).status_code == 201
    return client


def state(site: tuple[str, Pair, Path]) -> tuple[Any, ...]:
    """Everything that a request could have left behind, in the database and outside."""
    with psycopg.connect(site[1].cluster.dsn(site[1].shop)) as conn:
        rows = conn.execute(STATE).fetchone()
    files = sorted(str(path.relative_to(site[2])) for path in site[2].rglob("*") if path.name != "log")
    return rows, files


@pytest.mark.parametrize(
    ("path", "wrote"),
    [
        ("/t/write", "database default"),
        ("/t/write-unprotected", "database default"),
        ("/t/swallow", "database default"),
        ("/t/escape", ""),
        ("/t/durable", ""),
        ("/t/on-commit", ""),
        ("/t/session/save", ""),
        ("/t/session/rotate", ""),
        ("/t/session/flush", ""),
        ("/t/sign-in", "database default"),
        ("/t/cookie", ""),
        ("/t/send", "mail"),
        ("/t/task", "task"),
        ("/t/stream", "stream"),
        ("/api/orders/", ""),
        ("/api/products/", ""),
        ("/", ""),
    ],
)
def test_a_shadow_read_leaves_nothing_behind(
    site: tuple[str, Pair, Path], client: httpx2.Client, path: str, wrote: str
) -> None:
    signed_up(client)
    before, cookies = state(site), dict(client.cookies)
    answer = client.get(path, headers=SHADOW)
    assert state(site) == before
    assert answer.headers["x-strangler-shadow"] == "kept"
    assert answer.headers.get("x-strangler-wrote", "") == wrote
    assert "set-cookie" not in answer.headers
    assert dict(client.cookies) == cookies
    assert client.get("/api/accounts/me/").json()["id"], "the customer is still logged in"
    # The connection is as it was: the next request may write.
    assert client.get("/t/write-unprotected").text == "written"
    assert state(site) != before


@pytest.mark.parametrize("path", ["/t/on-commit", "/t/send", "/t/task", "/t/session/save", "/t/cookie", "/t/write"])
def test_the_same_reads_without_the_header_do_leave_something(
    site: tuple[str, Pair, Path], client: httpx2.Client, path: str
) -> None:
    signed_up(client)
    (site[2] / "committed").unlink(missing_ok=True)
    before = state(site)
    answer = client.get(path)
    assert state(site) != before or "set-cookie" in answer.headers


def test_views_answer_as_they_always_do(site: tuple[str, Pair, Path], client: httpx2.Client) -> None:
    signed_up(client)
    for path in ("/t/durable", "/t/on-commit", "/t/send", "/t/task", "/t/cookie", "/api/orders/", "/api/accounts/me/"):
        plain, shadow = client.get(path), client.get(path, headers=SHADOW)
        assert (plain.status_code, plain.text) == (shadow.status_code, shadow.text), path


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_what_may_write_is_refused(site: tuple[str, Pair, Path], client: httpx2.Client, method: str) -> None:
    before = state(site)
    answer = client.request(method, "/t/anything", headers=SHADOW, content=b"x" * 100_000)
    assert (answer.status_code, answer.headers["x-strangler-wrote"]) == (405, f"method {method}")
    assert state(site) == before


def test_a_probe_is_answered_without_asking_a_view(client: httpx2.Client) -> None:
    answer = client.get("/t/write", headers={"x-strangler-shadow": "probe"})
    assert (answer.status_code, answer.headers["x-strangler-shadow"]) == (204, "kept")
    assert "x-strangler-shadow" not in client.get("/t/cookie").headers


def test_a_shadow_answer_is_served_to_nobody_else(client: httpx2.Client) -> None:
    shadow = client.get("/t/cached", headers=SHADOW)
    first = client.get("/t/cached")
    assert first.text != shadow.text
    assert client.get("/t/cached").text == first.text


@pytest.mark.thorough
def test_one_shadow_read_on_a_side_with_another_key_logs_nobody_out(
    site: tuple[str, Pair, Path], client: httpx2.Client
) -> None:
    """The accident it is for: a fallback key rotates the session, and the monolith's cookie is worth nothing."""
    signed_up(client)
    me = client.get("/t/who").json()["id"]
    with served(site[1], site[2], OTHER_KEY) as other:
        seen = client.get(f"{other}/t/who", headers=SHADOW)
        assert seen.json()["id"] == me
        assert client.get("/t/who").json()["id"] == me, "still logged in at the monolith"
    with served(site[1], site[2], OTHER_KEY, SHADOW_TEST_NAIVE="1") as naive:
        cookies = dict(client.cookies)
        assert httpx2.get(f"{naive}/t/who", headers=SHADOW, cookies=cookies).json()["id"] == me
        gone = httpx2.get(f"{site[0]}/t/who", cookies=cookies)
        assert gone.json()["id"] is None, "without the middleware the one read logs the user out"


def test_a_server_that_was_busy_with_shadow_reads_is_well(site: tuple[str, Pair, Path], client: httpx2.Client) -> None:
    for _ in range(20):
        client.get("/t/write", headers=SHADOW)
    await_until(lambda: client.get("/t/write-unprotected").text == "written")
    with psycopg.connect(site[1].cluster.dsn(site[1].shop)) as conn:
        waiting = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
            "state LIKE 'idle in transaction%'"
        ).fetchone()
    assert waiting == (0,)
