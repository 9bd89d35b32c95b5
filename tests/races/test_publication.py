"""Where a publication goes on after a restart of the relay, or after a restore of its stream."""

from contextlib import closing
from typing import Any

import pytest

from migration_tools.errors import TransferError
from migration_tools.messaging.publication import Publication
from migration_tools.stores.postgres import connect
from migration_tools.testing.brokers import EmbeddedBroker
from tests.races.test_transport_interleavings import ends_of, received, redis, write
from tests.stage import STREAM

__all__ = ["redis"]


def test_a_relay_that_begins_again_publishes_from_where_the_broker_confirmed_not_from_its_slowest_consumer(
    stage: Any, redis: EmbeddedBroker
) -> None:
    stage.shop.execute("INSERT INTO strangle_consumer (stream, name, position) VALUES ('orders', 'slow', 0)")
    publisher, subscription = ends_of(redis.url, STREAM)
    with closing(publisher), closing(subscription), connect("default", "test") as conn:
        subscription.receive(0.1)
        first = write(stage)
        publication = Publication(STREAM, publisher, alias="default")
        while publication.step(conn):
            pass
        second = write(stage)
        again = Publication(STREAM, publisher, alias="default")
        assert again.step(conn)
        found = received(subscription, 1)
        if found[-1][1] < second:
            found += received(subscription, 1)
        # What has come may be given as one.
        assert found in ([(0, second)], [(0, first), (first, second)])


def test_a_stream_restored_from_before_what_was_published_is_published_from_its_slowest_consumer(
    stage: Any, redis: EmbeddedBroker
) -> None:
    publisher, subscription = ends_of(redis.url, STREAM)
    with closing(publisher), closing(subscription), connect("default", "test") as conn:
        subscription.receive(0.1)
        head = write(stage)
        stage.shop.execute(
            "INSERT INTO strangle_transport (stream, transport, position) VALUES ('orders', 'kombu', 99)"
        )
        publication = Publication(STREAM, publisher, alias="default")
        with pytest.raises(TransferError) as refused:
            publication.step(conn)
        publication._note(refused.value)
        assert publication.step(conn)
        assert received(subscription, 1) == [(0, head)]
        assert not publication.step(conn)
        assert stage.shop.execute("SELECT position FROM strangle_transport").fetchone() == (head,)
