"""Where an export goes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from migration_tools.stores.ports import Key, Shape, Values


@dataclass(frozen=True, kw_only=True)
class Watermark:
    """How far a table is exported: by the `number`-th export, up to what `snapshot` sees."""

    number: int
    snapshot: str
    declaration: str


class Sink(Protocol):
    """Files or a store. A call may be repeated under the same number, and then takes the place of the first one's."""

    def watermark(self, shape: Shape) -> Watermark | None:
        """How far the table is; None before the first export."""
        ...

    def keys(self, shape: Shape) -> Iterator[Key]:
        """The keys that are exported and not known to be gone."""
        ...

    def write(self, shape: Shape, number: int, rows: Iterable[tuple[Key, Values]], gone: Iterable[Key]) -> int:
        """Take rows, and keys that are no more; returns how many of both."""
        ...

    def done(self, shape: Shape, watermark: Watermark, *, whole: bool) -> None:
        """Keep the watermark; what was written under its number counts from now on. `whole`: nothing older does."""
        ...

    def close(self) -> None:
        """Let go of files or connections."""
        ...
