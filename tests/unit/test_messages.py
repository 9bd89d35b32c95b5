"""Envelopes and batches survive the wire; rows never travel through floats."""

import datetime as dt
import uuid

from hypothesis import given
from hypothesis import strategies as st

from migration_tools.messaging.batch import Batch, RelationHead, RowRecord
from migration_tools.messaging.envelope import Envelope

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
values = st.lists(st.none() | texts, min_size=1, max_size=4).map(tuple)
records = st.builds(
    RowRecord,
    position=st.integers(1, 2**62),
    kind=st.sampled_from("rpg"),
    relation=st.just(1),
    key=st.tuples(texts),
    values=st.none() | values,
    occurred=st.floats(0, 2e9),
)
envelopes = st.builds(
    Envelope,
    event_id=st.uuids(),
    aggregate_id=texts,
    aggregate_type=texts,
    event_type=texts,
    event_version=st.integers(1, 9),
    timestamp=st.datetimes(min_value=dt.datetime(2000, 1, 1), timezones=st.just(dt.UTC)),  # noqa: DTZ001
    correlation_id=st.none() | texts,
    causation_id=st.none() | texts,
    payload=st.dictionaries(texts, st.integers() | texts | st.none(), max_size=3),
    metadata=st.dictionaries(texts, texts, max_size=2),
    stream=st.just("orders"),
    origin=texts,
    position=st.integers(1, 2**62),
)


@given(st.lists(records, max_size=4), st.lists(envelopes, max_size=3))
def test_a_batch_survives_the_wire(rows: list[RowRecord], events: list[Envelope]) -> None:
    head = RelationHead(table="t", key=("id",), columns=("id", "a"), rank=0, owned=True, patch=False)
    batch = Batch(
        stream="orders",
        origin="monolith",
        first=0,
        last=9,
        head=12,
        identity="i",
        relations={1: head},
        rows=rows,
        events=events,
    )
    assert Batch.from_json(batch.to_json()) == batch


@given(envelopes)
def test_an_envelope_maps_to_a_cloudevent_with_string_attributes(envelope: Envelope) -> None:
    event = envelope.to_cloudevent()
    assert event["specversion"] == "1.0"
    assert event["id"] == str(envelope.event_id)
    assert event["data"] == envelope.payload
    assert all(isinstance(value, str) for name, value in event.items() if name != "data")
    assert all(name.isalnum() and name.islower() for name in event)


def test_identifiers_sort_by_the_time_they_were_made() -> None:
    from migration_tools.kernel.ids import uuid7

    made = [uuid7() for _ in range(50)]
    assert all(each.version == 7 and each.variant == uuid.RFC_4122 for each in made)
    assert [each.int >> 80 for each in made] == sorted(each.int >> 80 for each in made)
