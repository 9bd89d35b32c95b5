"""Mistakes in replicas and stores: all at once, each with the nearest known name."""

from typing import Any

import pytest
from django.conf import settings
from django.test import override_settings

from migration_tools.errors import SettingsError, StoreError
from migration_tools.playbook import Replica
from migration_tools.playbook.replicas import find_replica_mistakes
from migration_tools.playbook.validation import find_static_mistakes
from migration_tools.stores.clickhouse import tsv
from migration_tools.stores.clickhouse.failures import failure
from migration_tools.stores.opening import find_store_mistakes, open_store
from migration_tools.stores.ports import Column
from playbooks.orders import Orders

CACHE = {"cache": {"ENGINE": "redis", "URL": "redis://127.0.0.1:1/0"}}


def with_stores(stores: Any) -> Any:
    return override_settings(MIGRATION_TOOLS={**settings.MIGRATION_TOOLS, "STORES": stores})


def test_every_mistake_of_replicas_is_reported_at_once() -> None:
    class Wrong(Orders):
        replicas = [
            Replica("sales_ordr", store="cache", into="o"),
            Replica("sales_order", store="cash", into="o"),
            Replica("sales_order", store="cache", into="p", columns=["stat"], as_text=["id"]),
            Replica("sales_product", store="cache", into="p"),
        ]

    with with_stores(CACHE):
        found = find_replica_mistakes(Wrong.replicas, (*Wrong.projections, *Wrong.references))
        assert [text for text in find_static_mistakes(Wrong) if text in found] == found
    assert [text.partition(": ")[2] or text for text in found] == [
        "no projection goes into 'sales_ordr'; did you mean 'sales_order'?",
        "there is no store 'cash' in MIGRATION_TOOLS['STORES']; did you mean 'cache'?",
        "'sales_order' has no column 'stat'; did you mean 'state'?",
        "'id' is of the key, which keeps its type; leave it out of as_text",
        "two replicas are called 'cache.p'",
    ]


def test_a_playbook_without_replicas_needs_no_stores() -> None:
    assert find_replica_mistakes(Orders.replicas, Orders.projections) == []


@pytest.mark.parametrize(
    ("stores", "said"),
    [
        ([], "it must be a dict"),
        ({"a": {"ENGINE": "redis"}}, "must be a dict with 'ENGINE' and 'URL'"),
        ({"a": {"ENGINE": "redi", "URL": ""}}, "did you mean 'redis'?"),
        ({"a": {"ENGINE": "redis", "URL": "", "OPTION": {}}}, "unknown key 'OPTION'; did you mean 'OPTIONS'?"),
    ],
)
def test_a_store_that_cannot_be_used_is_explained(stores: Any, said: str) -> None:
    assert said in "; ".join(find_store_mistakes(stores))
    with with_stores(stores), pytest.raises(SettingsError):
        open_store("a")


def test_a_class_of_one_s_own_is_an_engine() -> None:
    engine = {"ENGINE": "tests.unit.test_replica_mistakes:Own", "URL": "own://", "OPTIONS": {"SIZE": 3}}
    with with_stores({"mine": engine}):
        assert vars(open_store("mine")) == {"url": "own://", "size": 3}
    with with_stores({"mine": {**engine, "OPTIONS": {"SISE": 3}}}), pytest.raises(StoreError, match="OPTIONS"):
        open_store("mine")
    with (
        with_stores({"mine": {**engine, "ENGINE": "tests.unit:Absent"}}),
        pytest.raises(SettingsError, match="imported"),
    ):
        open_store("mine")


class Own:
    """Stands for an adapter of a user."""

    def __init__(self, url: str, *, size: int = 1):
        self.url = url
        self.size = size


@pytest.mark.parametrize(
    ("type_name", "text"),
    [
        ("timestamp with time zone", "infinity"),
        ("timestamp with time zone", "0044-03-15 00:00:00+00 BC"),
        ("timestamp without time zone", "1850-01-01 00:00:00"),
        ("date", "10000-01-01"),
        ("numeric(12,2)", "NaN"),
    ],
)
def test_what_clickhouse_would_change_is_refused_without_telling_the_value(type_name: str, text: str) -> None:
    with pytest.raises(StoreError, match="as_text") as caught:
        tsv.encode(Column(name="seen", type=type_name), text)
    assert text not in str(caught.value)


def test_what_clickhouse_says_is_passed_on_without_values() -> None:
    said = "Code: 27. DB::Exception: Cannot parse input: 'Ada Lovelace\\t1': (at row 1). (CANNOT_PARSE_INPUT)"
    assert str(failure(RuntimeError(said))) == "ClickHouse refused: code 27 CANNOT_PARSE_INPUT"
    assert "does not answer" in str(failure(OSError("refused")))
