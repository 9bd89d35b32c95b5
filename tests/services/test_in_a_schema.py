"""A context is carried out into a schema, in a database where every other service has one too."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from migration_tools.capture.declaration import Status
from migration_tools.capture.drift import compare_made
from migration_tools.state.journal import phase_of
from migration_tools.stores.postgres import connect
from tests.conftest import Cluster
from tests.services.rig import NAMES
from tests.services.road import ROAD, Road, road
from tests.services.test_playbooks import NEW_WRITES, differences, writing

pytest_plugins = ["tests.services.rig"]
pytestmark = pytest.mark.thorough

CONTEXT = "payments"


@pytest.fixture
def walked(cluster: Cluster, templates: tuple[str, str], django_db_blocker: Any) -> Iterator[Road]:
    with django_db_blocker.unblock(), road(cluster, templates, CONTEXT, schema=True) as made:
        yield made


def of_the_others(way: Road) -> dict[str, int]:
    """What is in the other services' outboxes and captured there."""
    return {
        f"{name}.{table}": way.service.execute(f"SELECT count(*) FROM {name}.{table}".encode()).fetchone()[0]  # type: ignore[index]
        for name in NAMES
        if name != CONTEXT
        for table in ("strangle_outbox", "strangle_captured_table", "strangle_ownership")
    }


def test_a_context_is_carried_out_into_a_schema_back_and_out_again_under_writes(walked: Road, cluster: Cluster) -> None:
    # As the web processes write there: the schema's own role, which may write no outbox by itself.
    app = f"{cluster.dsn(str(walked.service.info.dbname), f'{CONTEXT}_app')} options='-c search_path={CONTEXT}'"
    with writing(walked, cluster) as refused:
        walked.go(*ROAD[:5])
        while not refused[0]:
            walked.shop.execute("SELECT pg_sleep(0.01)")
    assert phase_of(CONTEXT) == "cutover"
    with connect(CONTEXT, "test") as conn:
        assert {status for status, _ in compare_made(conn, CONTEXT).values()} == {Status.INSTALLED}
    with psycopg.connect(app) as conn:
        conn.execute(NEW_WRITES[CONTEXT].encode())
    walked.run("strangle_rollback")
    walked.run("strangle_verify")
    assert differences(walked) == []
    with psycopg.connect(app) as conn, pytest.raises(psycopg.errors.OperationalError, match=CONTEXT):
        conn.execute(NEW_WRITES[CONTEXT].encode())
    walked.go("strangle_verify", "strangle_cutover", "strangle_decommission")
    assert phase_of(CONTEXT) == "decommission"
    assert set(of_the_others(walked).values()) == {0}
    assert walked.service.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
