"""What travels: a run of stream records between two positions, whole ticks only, and its JSON form."""

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from migration_tools.messaging.envelope import Envelope


@dataclass(frozen=True, kw_only=True)
class RelationHead:
    """What a consumer must know of a relation to apply its rows: the target table and the order of values.

    `owned` rows follow the context's owner; a `patch` holds only columns denormalised from another context.
    """

    table: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    rank: int
    owned: bool
    patch: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RowRecord:
    """A mapped row ('r'), a patch of it ('p') or its end ('g'); values are PostgreSQL text, see Note [text of
    values]."""

    position: int
    kind: str
    relation: int
    key: tuple[str, ...]
    values: tuple[str | None, ...] | None
    occurred: float


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Records with `first` < position <= `last` of one stream; `first == last` when there is nothing.

    `head` is the stream's end when the batch was read. `identity` is the stream's own, drawn once by the database that
    numbers it and empty before its first tick: two databases may give their streams the same name at one broker.
    """

    stream: str
    origin: str
    first: int
    last: int
    head: int = 0
    identity: str = ""
    relations: dict[int, RelationHead] = field(default_factory=dict)
    rows: list[RowRecord] = field(default_factory=list)
    events: list[Envelope] = field(default_factory=list)

    def to_json(self) -> str:
        """The wire form; rows as lists, because their names would be most of the bytes."""
        return json.dumps(
            {
                "stream": self.stream,
                "origin": self.origin,
                "first": self.first,
                "last": self.last,
                "head": self.head,
                "identity": self.identity,
                "relations": {
                    str(number): [head.table, head.key, head.columns, head.rank, head.owned, head.patch]
                    for number, head in self.relations.items()
                },
                "rows": [[r.position, r.kind, r.relation, r.key, r.values, r.occurred] for r in self.rows],
                "events": [event.to_json() for event in self.events],
            },
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read the wire form; ValueError, KeyError or TypeError when it is not one."""
        document: dict[str, Any] = json.loads(text)
        return cls(
            stream=document["stream"],
            origin=document["origin"],
            first=int(document["first"]),
            last=int(document["last"]),
            head=int(document["head"]),
            identity=str(document.get("identity", "")),
            relations={
                int(number): RelationHead(
                    table=head[0],
                    key=tuple(head[1]),
                    columns=tuple(head[2]),
                    rank=head[3],
                    owned=head[4],
                    patch=head[5],
                )
                for number, head in document["relations"].items()
            },
            rows=[
                RowRecord(
                    position=r[0],
                    kind=r[1],
                    relation=r[2],
                    key=tuple(r[3]),
                    values=None if r[4] is None else tuple(r[4]),
                    occurred=r[5],
                )
                for r in document["rows"]
            ],
            events=[Envelope.from_json(event) for event in document["events"]],
        )

    @property
    def mark(self) -> str:
        """What the last record is known by besides its position: the stream's identity and when it happened, as
        `identity/microseconds`; '' without one.

        Note [marks]. An owner that was restored from a backup gives positions anew that a consumer had already applied.
        While its stream is shorter than the consumer's position, that shows; once it has grown past it, nothing would,
        and what was written in between would never be read. So a consumer says with its position when that record
        happened, and the owner compares.
        """
        last = [row.occurred for row in self.rows[-1:] if row.position == self.last]
        last += [_epoch(event) for event in self.events[-1:] if event.position == self.last]
        return f"{self.identity}/{round(last[0] * 1_000_000)}" if last else ""

    def leads_to(self, behind: "Batch") -> bool:
        """Whether another batch goes on where this one ends, and its records mean what they would mean in this one."""
        return (
            (self.stream, self.origin, self.identity, self.last)
            == (behind.stream, behind.origin, behind.identity, behind.first)
            and all(behind.relations[each] == self.relations[each] for each in self.relations.keys() & behind.relations)
        )  # fmt: skip

    def oldest(self) -> float | None:
        """Epoch seconds of the oldest fact inside; None when there is none."""
        times = [row.occurred for row in self.rows]
        times += [_epoch(event) for event in self.events]
        return min(times, default=None)


def joined(run: Sequence[Batch]) -> Batch:
    """Batches that lead to each other as one."""
    if len(run) == 1:
        return run[0]
    return replace(
        run[-1],
        first=run[0].first,
        relations={number: head for batch in run for number, head in batch.relations.items()},
        rows=[row for batch in run for row in batch.rows],
        events=[event for batch in run for event in batch.events],
    )


def _epoch(event: Envelope) -> float:
    return event.timestamp.astimezone(dt.UTC).timestamp()
