"""How the slots of a read model in Elasticsearch are swapped, by what is asked of a server."""

import contextlib
import json
from collections.abc import Iterator
from typing import ClassVar

import pytest

from migration_tools.errors import StoreError
from migration_tools.projections import Latest, ReadModel, Table
from migration_tools.projections.elasticsearch_rows import ATTEMPTS, ElasticsearchRows
from tests.search_stand_in import StandIn, stand_in


class Days(ReadModel):
    """Two tables, which are swapped together."""

    name = "days"
    store = "search"
    tables: ClassVar = tuple(
        Table(name=name, key={"day": "date"}, source="orders", columns={"note": Latest("text")})
        for name in ("days", "nights")
    )


@pytest.fixture
def server() -> Iterator[StandIn]:
    """A server that answers what the test says, else with nothing found."""
    with stand_in() as said:
        yield said


@pytest.fixture
def rows(server: StandIn) -> Iterator[ElasticsearchRows]:
    """The read model's rows at the stand-in."""
    with contextlib.closing(ElasticsearchRows(Days(), server.url)) as made:
        yield made


def test_a_slot_is_refreshed_before_searches_are_led_to_it_in_one_request(
    server: StandIn, rows: ElasticsearchRows
) -> None:
    """osmem-server searches what was not refreshed, Elasticsearch does not."""
    server.answers["/_alias/days"] = (200, {"days-s1": {}})
    server.answers["/_alias/nights"] = (200, {"nights-s1": {}})
    rows.show(2)
    *_, refreshed, _, _, (path, _, body) = server.asked
    assert (refreshed[0], path) == ("POST /days-s2,nights-s2/_refresh", "POST /_aliases")
    shown = {"filter": {"term": {"strangle.live": True}}}
    assert json.loads(body)["actions"] == [
        {"remove": {"index": "days-s1", "alias": "days"}},
        {"remove": {"index": "nights-s1", "alias": "nights"}},
        {"add": {"index": "days-s2", "alias": "days", **shown}},
        {"add": {"index": "nights-s2", "alias": "nights", **shown}},
    ]


def test_aliases_that_others_change_meanwhile_are_looked_at_again(server: StandIn, rows: ElasticsearchRows) -> None:
    server.answers["_aliases"] = (404, {"error": {"type": "aliases_not_found_exception"}, "status": 404})
    with pytest.raises(StoreError, match=f"the aliases were changed by others {ATTEMPTS} times"):
        rows.show(2)
    assert sum(asked == "GET /_alias/days" for asked, _, _ in server.asked) == ATTEMPTS


def test_a_column_named_as_what_stands_beside_a_row_is_refused(server: StandIn) -> None:
    class Named(Days):
        tables = (Table(name="named", key={"strangle": "bigint"}, source="orders", columns={}),)

    with (
        contextlib.closing(ElasticsearchRows(Named(), server.url)) as named,
        pytest.raises(StoreError, match="column 'strangle' of 'named' is named as what stands beside a row"),
    ):
        named.show(1)
    assert [path for path, _, _ in server.asked if path.startswith("PUT")] == []


def test_a_server_that_refuses_says_in_which_store_and_without_the_values_it_quotes(
    server: StandIn, rows: ElasticsearchRows
) -> None:
    server.answers["_doc"] = (403, {"error": {"type": "security_exception", "reason": "secret"}, "status": 403})
    with pytest.raises(StoreError, match="store 'search': Elasticsearch refused: 403 security_exception; noth") as told:
        rows.read("days", {"day": "2026-01-01"})
    assert "secret" not in str(told.value)
