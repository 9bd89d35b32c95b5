"""Batches become one only where they lead to each other and their records mean the same."""

import itertools
from dataclasses import replace

import pytest

from migration_tools.messaging.batch import Batch, RelationHead, RowRecord, joined

HEAD = RelationHead(table="t", key=("id",), columns=("id", "name"), rank=0, owned=True, patch=False)


def batch(first: int, last: int, relation: int = 1) -> Batch:
    rows = [
        RowRecord(position=at, kind="r", relation=relation, key=(str(at),), values=(str(at), "x"), occurred=float(at))
        for at in range(first + 1, last + 1)
    ]
    return Batch(
        stream="s", origin="o", identity="i", first=first, last=last, head=last, relations={relation: HEAD}, rows=rows
    )


def test_a_run_is_one_batch_with_the_last_one_s_end_and_mark() -> None:
    run = [batch(0, 2), batch(2, 3, relation=2), batch(3, 5)]
    assert all(one.leads_to(other) for one, other in itertools.pairwise(run))
    whole = joined(run)
    assert (whole.first, whole.last, whole.head, whole.mark) == (0, 5, 5, run[-1].mark)
    assert [row.position for row in whole.rows] == [1, 2, 3, 4, 5]
    assert whole.relations == {1: HEAD, 2: HEAD}
    assert joined(run[:1]) is run[0]


@pytest.mark.parametrize(
    "other",
    [
        batch(3, 4),
        replace(batch(2, 4), stream="another"),
        replace(batch(2, 4), origin="another"),
        replace(batch(2, 4), identity="another"),
        replace(batch(2, 4), relations={1: replace(HEAD, columns=("name", "id"))}),
    ],
    ids=["a hole", "another stream", "another side", "another database", "a playbook mended in between"],
)
def test_what_does_not_go_on_here_stays_a_batch_of_its_own(other: Batch) -> None:
    assert not batch(0, 2).leads_to(other)
