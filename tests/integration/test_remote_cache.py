"""A cache of another service's entities that its events empty: one call for all, and never an older value."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.cache import cache

from migration_tools.replication.caching import Loaded, RemoteCache


class Truth:
    """What another service knows of one entity; a load takes a moment and is counted."""

    def __init__(self) -> None:
        self.version, self.value, self.loads = 1, "one", 0
        self.hold: threading.Event | None = None
        self.failing = False
        self.lock = threading.Lock()

    def load(self, key: object) -> Loaded:
        with self.lock:
            self.loads += 1
            loaded = Loaded(self.version, self.value)
        if self.hold is not None:
            self.hold.wait(10)
        if self.failing:
            raise ConnectionError("down")
        return loaded


@pytest.fixture
def truth() -> Iterator[Truth]:
    cache.clear()
    yield Truth()
    cache.clear()


def test_a_hundred_misses_at_once_are_one_call(truth: Truth) -> None:
    entities = RemoteCache(name="t", load=truth.load)
    truth.hold = threading.Event()
    with ThreadPoolExecutor(100) as pool:
        waiting = [pool.submit(entities.get, 1) for _ in range(100)]
        truth.hold.set()
        assert {each.result(20) for each in waiting} == {"one"}
    assert truth.loads == 1


def test_a_write_shows_once_its_event_came(truth: Truth) -> None:
    entities = RemoteCache(name="t", load=truth.load)
    assert entities.get(1) == "one"
    truth.version, truth.value = 2, "two"
    assert entities.get(1) == "one"
    entities.invalidate(1, 2)
    assert [entities.get(1), entities.get(1)] == ["two", "two"]
    assert truth.loads == 2


def test_a_late_event_takes_nothing_back(truth: Truth) -> None:
    entities = RemoteCache(name="t", load=truth.load)
    truth.version, truth.value = 3, "three"
    assert entities.get(1) == "three"
    for late in (3, 1, 2):
        entities.invalidate(1, late)
    assert entities.get(1) == "three"
    assert truth.loads == 1


def test_a_late_event_does_not_make_an_older_answer_good_enough(truth: Truth) -> None:
    """Events of versions 3 and 2 come the wrong way round, and whoever is asked answers with 2, a replica that lags."""
    entities = RemoteCache(name="t", load=truth.load)
    assert entities.get(1) == "one"
    for version in (3, 2):
        entities.invalidate(1, version)
    truth.version, truth.value = 2, "two"
    entities.get(1)
    truth.version, truth.value = 3, "three"
    assert entities.get(1) == "three"


def test_a_load_that_began_before_the_event_and_ends_after_it_is_not_given_to_later_readers(truth: Truth) -> None:
    entities = RemoteCache(name="t", load=truth.load)
    truth.hold = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(entities.get, 1)
        deadline = time.monotonic() + 10
        while not truth.loads:
            assert time.monotonic() < deadline
        truth.version, truth.value = 2, "two"
        entities.invalidate(1, 2)
        truth.hold.set()
        slow.result(10)
    truth.hold = None
    assert entities.get(1) == "two"


def test_an_older_value_is_given_while_one_caller_asks_anew_and_when_the_service_is_down(truth: Truth) -> None:
    entities = RemoteCache(name="t", load=truth.load, fresh_seconds=0.0, stale_seconds=60)
    assert entities.get(1) == "one"
    truth.hold = threading.Event()
    truth.value = "anew"
    assert [entities.get(1) for _ in range(20)] == ["one"] * 20
    truth.hold.set()
    deadline = time.monotonic() + 10
    while entities.get(1) != "anew":
        assert time.monotonic() < deadline
    truth.failing = True
    assert entities.get(1) == "anew"
    cache.clear()
    with pytest.raises(ConnectionError):
        entities.get(1)
