"""Reference data: versions that never change, what held on a day, and a client that hardly asks and never fails."""

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from migration_tools.errors import ReplicationError
from migration_tools.replication import polling
from migration_tools.replication.effective import EffectiveTable, effective
from migration_tools.replication.polling import Poll, polls
from tests.conftest import Cluster
from tests.examples.served import Served, served
from tests.integration.replication_rig import keeper, kept, rows

__all__ = ["keeper", "kept"]

TAXES = [
    {"key": "DE", "valid_from": "2007-01-01", "rate": "19.00"},
    {"key": "DE", "valid_from": "2020-07-01", "rate": "16.00"},
    {"key": "DE", "valid_from": "2021-01-01", "rate": "19.00"},
    {"key": "FR", "valid_from": "2014-01-01", "rate": "20.00"},
]
HISTORY = [("DE", "2006-12-31", None), ("DE", "2020-06-30", "19.00"), ("DE", "2020-07-01", "16.00"),
           ("DE", "2020-12-31", "16.00"), ("DE", "2021-01-01", "19.00"), ("FR", "2025-01-01", "20.00"),
           ("XX", "2025-01-01", None)]  # fmt: skip


@pytest.fixture(scope="module")
def reference(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The service with a first version of taxes."""
    with served(cluster, "reference", tmp_path_factory.mktemp("reference") / "log") as made:
        assert publish(made, TAXES) == "version 1"
        yield made


def get(reference: Served, path: str, **headers: str) -> httpx2.Response:
    """Ask the service; patiently, since the first request waits until it has started."""
    return httpx2.get(f"{reference.url}/api/reference/{path}", headers=headers, timeout=60)


def publish(reference: Served, taxes: list[dict[str, Any]]) -> str:
    path = reference.log.with_name("taxes.json")
    path.write_text(json.dumps(taxes))
    done = reference.manage("reference_publish", "taxes", str(path))
    return (done.stdout or done.stderr).strip()


def test_a_version_is_for_ever_and_the_newest_is_asked_for_by_its_tag(reference: Served) -> None:
    latest = get(reference, "taxes/")
    assert latest.headers["cache-control"] == "public, max-age=60, must-revalidate"
    assert [row["id"] for row in latest.json()["results"]][:2] == ["DE/2007-01-01", "DE/2020-07-01"]
    version = latest.json()["version"]
    kept_version = get(reference, f"taxes/{version}/")
    assert kept_version.json() == latest.json()
    assert "immutable" in kept_version.headers["cache-control"]
    again = get(reference, "taxes/", **{"If-None-Match": latest.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    for nothing in ("taxes/99/", "weather/", "taxes/99999999999999/", "weather%00/"):
        missing = get(reference, nothing)
        assert (missing.status_code, missing.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize(("key", "day", "rate"), HISTORY)
def test_what_held_on_a_day_is_found(reference: Served, key: str, day: str, rate: str | None) -> None:
    found = get(reference, f"taxes/of/{key}/?on={day}")
    assert (found.json()["rate"] if found.status_code == 200 else None) == rate


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.lists(st.dates(), unique=True), st.dates())
def test_the_last_row_that_has_begun_holds(days: list[dt.date], day: dt.date) -> None:
    found = effective([{"key": "k", "valid_from": each.isoformat()} for each in days], "k", day)
    begun = [each for each in days if each <= day]
    assert (found["valid_from"] if found else None) == (max(begun).isoformat() if begun else None)


def test_publishing_the_same_is_nothing_and_mistakes_are_told_at_once(reference: Served) -> None:
    assert publish(reference, TAXES) == "nothing is new"
    told = publish(reference, [{"key": "DE", "valid_from": "soon"}, {"valid_from": "2025-01-01"}, *TAXES[:1] * 2])
    assert "row 'DE/soon' needs" in told
    assert "'DE/2007-01-01' is there twice" in told
    assert reference.rows("SELECT event_type, payload->>'version' FROM strangle_outbox") == [
        ("reference.published", "1")
    ]


@pytest.fixture
def client(kept: Served, reference: Served, settings: Any, tmp_path: Path) -> Iterator[EffectiveTable]:
    """A service that needs taxes: its table, and an old copy that ships with it."""
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICES": {"reference": reference.url}}
    bundled = tmp_path / "taxes.json"
    bundled.write_text(json.dumps([{"key": "DE", "valid_from": "1998-04-01", "rate": "16.00"}]))
    poll = Poll(name="taxes", service="reference", path="/api/reference/taxes/", every_seconds=60)
    yield EffectiveTable(poll=poll, bundled=bundled)
    polls.clear()


def test_the_client_answers_from_its_table_and_before_the_first_answer_from_what_it_ships_with(
    client: EffectiveTable, settings: Any
) -> None:
    today = dt.date(2025, 1, 1)
    first = client.on("DE", today)
    assert (first.row and first.row["rate"], first.age_seconds) == ("16.00", None)
    polling.ask(client.poll)
    assert [(key, day, (found := client.on(key, dt.date.fromisoformat(day)).row) and found["rate"])
            for key, day, _ in HISTORY] == HISTORY  # fmt: skip
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "SERVICES": {"reference": "http://127.0.0.1:1"}}
    with pytest.raises(ReplicationError):
        polling.ask(client.poll)
    looked = client.on("DE", today)
    assert looked.row is not None
    assert looked.age_seconds is not None


def test_of_many_reads_hardly_one_is_an_answer_with_a_body_and_a_new_version_shows_in_a_pause(
    client: EffectiveTable, reference: Served
) -> None:
    changed = []
    for _ in range(40):
        changed.append(polling.ask(client.poll))
        for _ in range(5):
            assert client.on("FR", dt.date(2025, 1, 1)).row is not None
    reads, bodies = 40 * 5 + 40, sum(changed)
    assert 1 - bodies / reads >= 0.95
    # By itself, of the polls alone: the others were answered 304.
    assert 1 - bodies / 40 >= 0.95
    publish(reference, [*TAXES, {"key": "FR", "valid_from": "2025-01-01", "rate": "21.00"}])
    rows("UPDATE strangle_poll SET next_at = now()")
    [due] = polling.due()
    assert polling.ask(due)
    found = client.on("FR", dt.date(2025, 1, 1)).row
    assert found is not None
    assert found["rate"] == "21.00"
    first = get(reference, "taxes/1/").json()
    assert len(first["results"]) == len(TAXES)


@pytest.mark.thorough
def test_every_answer_is_one_that_the_openapi_document_declares(reference: Served) -> None:
    document = schemathesis.openapi.from_url(f"{reference.url}/api/schema/")
    for path in document.raw_schema["paths"]:
        cases = document[path]["GET"].as_strategy()

        @hypothesis_settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(cases)
        def check(case: schemathesis.Case) -> None:
            case.call_and_validate(excluded_checks=[positive_data_acceptance, negative_data_rejection])

        check()


@pytest.mark.thorough
def test_the_committed_schema_migrations_are_what_the_models_say(reference: Served) -> None:
    done = reference.manage("makemigrations", "--check", "--dry-run", "reference_service")
    assert done.returncode == 0, done.stdout + done.stderr
