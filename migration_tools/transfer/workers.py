"""Threads of this process that copy pieces, each on two connections of its own."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager

from migration_tools.stores.postgres import Connection, connect
from migration_tools.transfer.pieces import Crew, Outcome, Piece, Work, copy_piece


class _Threads:
    def __init__(self, pool: ThreadPoolExecutor, pairs: list[tuple[Connection, Connection]]) -> None:
        self._pool, self._pairs = pool, pairs

    @property
    def size(self) -> int:
        """See Crew."""
        return len(self._pairs)

    def begin(self, pieces: Sequence[Piece]) -> Work:
        """See Crew; at most `size` pieces."""
        return _Futures(
            [
                self._pool.submit(copy_piece, reader, receiver, piece)
                for (reader, receiver), piece in zip(self._pairs, pieces, strict=False)
            ]
        )


class _Futures:
    def __init__(self, futures: list[Future[Outcome]]) -> None:
        self._futures = futures

    def wait(self) -> list[Outcome]:
        """See Work."""
        wait(self._futures)
        return [future.result() for future in self._futures]


@contextmanager
def threads(sender: str, receiver: str, count: int) -> Iterator[Crew]:
    """`count` threads, for rows to flow from the Django database `sender` to `receiver`; theirs end with the block."""
    with ExitStack() as stack:
        pairs = [
            (
                stack.enter_context(connect(sender, f"backfill reader {number}")),
                stack.enter_context(connect(receiver, f"backfill {number}")),
            )
            for number in range(1, count + 1)
        ]
        pool = stack.enter_context(ThreadPoolExecutor(max_workers=max(count, 1), thread_name_prefix="strangle-copy"))
        yield _Threads(pool, pairs)
