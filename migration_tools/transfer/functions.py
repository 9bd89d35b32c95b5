"""Run a mapping's functions over blocks of copy data, in processes of their own where there are any.

Note [functions in processes]. A block is PostgreSQL's COPY text, some hundred rows; a worker decodes the functions'
inputs, calls them, and answers the block as the target's COPY text. At most AHEAD blocks a worker are under way, so
memory does not grow with the table, and their order is kept. The first blocks are run by the process that has them,
so that a small table starts no worker. A block is a pure function of its bytes: one whose worker
was killed is given to a new worker, and nothing that was written depends on the old one. Workers are started anew
(spawn), ignore Ctrl-C, which is the command's to heed, and end with the process that started them, however that ends.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import lru_cache

from migration_tools.capture.transforms import Maker, Plan, load, permitted
from migration_tools.errors import TransformFailed

AHEAD = 3
# To start a worker takes longer than to run a function over so many blocks.
HERE_FIRST = 16
LOST_AT_MOST = 3

Through = Callable[[Iterable[bytes]], Iterator[bytes]]


class _Processes:
    """A pool that is made anew when a worker of it was killed."""

    def __init__(self, count: int):
        self.count = count
        self.here_first = HERE_FIRST
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None

    def submit(self, plan: Plan, block: bytes) -> "Future[bytes | str]":
        with self._lock:
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_begin)
            pool = self._pool
        try:
            return pool.submit(_work, plan, block)
        except BrokenProcessPool as error:
            broken: Future[bytes | str] = Future()
            broken.set_exception(error)
            return broken

    def forget(self, pool: ProcessPoolExecutor | None) -> None:
        """Drop a broken pool, unless another thread did already."""
        with self._lock:
            if self._pool is pool and pool is not None:
                self._pool = None
                pool.shutdown(wait=False)

    def present(self) -> ProcessPoolExecutor | None:
        return self._pool

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
                self._pool = None


_here: list[_Processes] = []


@contextmanager
def processes(count: int) -> Iterator[None]:
    """For the block functions of mappings run in `count` processes; in this one where that is 0, or not allowed."""
    if not count or multiprocessing.current_process().daemon:
        yield
        return
    made = _Processes(count)
    _here.append(made)
    try:
        yield
    finally:
        _here.remove(made)
        made.close()


def through(plan: Plan, *, elsewhere: bool = False) -> Through:
    """What turns blocks of raw rows into blocks of the target's rows; in this process where no others were asked for.

    With `elsewhere` no block is run here if there are others.

    Raises (while it is iterated):
        TransformFailed: a function failed, or its worker was killed again and again.
    """
    for made in plan.made:
        permitted(made.function)
    if _here:
        return lambda blocks: _beside(_here[-1], plan, blocks, elsewhere=elsewhere)
    return lambda blocks: (block_of(plan, block) for block in blocks)


def _beside(workers: _Processes, plan: Plan, blocks: Iterable[bytes], *, elsewhere: bool) -> Iterator[bytes]:
    waiting: deque[tuple[bytes, Future[bytes | str]]] = deque()
    lost = 0
    source = iter(blocks)
    while workers.here_first > 0 and not elsewhere:
        workers.here_first -= 1
        block = next(source, None)
        if block is None:
            return
        yield block_of(plan, block)
    more = True
    while more or waiting:
        while more and len(waiting) < workers.count * AHEAD:
            block = next(source, None)
            more = block is not None
            if block is not None:
                waiting.append((block, workers.submit(plan, block)))
        if not waiting:
            return
        pool = workers.present()
        try:
            done = waiting[0][1].result()
        except BrokenProcessPool:
            lost += 1
            if lost > LOST_AT_MOST:
                raise TransformFailed(
                    f"the process that ran {plan.made[0].function!r} over {plan.table!r} was killed {lost} times (out "
                    "of memory?); nothing is lost: run the same command again, or set MIGRATION_TOOLS"
                    "['TRANSFORM_WORKERS'] to 0"
                ) from None
            workers.forget(pool)
            waiting = deque((block, workers.submit(plan, block)) for block, _ in waiting)
            continue
        if isinstance(done, str):
            raise TransformFailed(done)
        waiting.popleft()
        yield done


def _begin() -> None:
    """A worker's first act."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        import django
        from django.apps import apps

        if not apps.ready:
            django.setup()


def _end_with(sentinel: int) -> None:
    multiprocessing.connection.wait([sentinel])
    os._exit(1)


def _work(plan: Plan, block: bytes) -> bytes | str:
    """The block's rows, or why there are none: an exception would carry the function's own, and the row's values."""
    try:
        return block_of(plan, block, _permitted_elsewhere)
    except TransformFailed as failure:
        return str(failure)


# The process that handed the block over has asked whether its functions may be called.
_permitted_elsewhere = load


def block_of(plan: Plan, block: bytes, find: Callable[[str], Callable[..., object]] = permitted) -> bytes:
    """A block of raw rows as the target's rows, both COPY text; plain columns pass as the bytes they are."""
    maker = _maker(plan, find)
    places = plan.places
    lines = []
    for line in block.split(b"\n")[:-1]:
        fields = line.split(b"\t")
        made = maker.values(_Texts(fields))
        lines.append(b"\t".join([fields[place] if place >= 0 else _written(made[-1 - place]) for place in places]))
    lines.append(b"")
    return b"\n".join(lines)


@lru_cache(maxsize=32)
def _maker(plan: Plan, find: Callable[[str], Callable[..., object]]) -> Maker:
    return Maker(plan, find)


class _Texts(Sequence[str | None]):
    """The fields of a line of COPY text; each is decoded only if it is asked for."""

    def __init__(self, fields: list[bytes]):
        self.fields = fields

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        if isinstance(place, slice):
            return [read(field) for field in self.fields[place]]
        return read(self.fields[place])


_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def read(field: bytes) -> str | None:
    """A field of COPY text."""
    if b"\\" not in field:
        return field.decode()
    if field == b"\\N":
        return None
    head, *parts = field.split(b"\\")
    text = [head]
    literal = False
    for part in parts:
        if literal:
            text.append(part)
            literal = False
        elif not part:
            text.append(b"\\")
            literal = True
        else:
            text.append(_ESCAPES.get(part[:1], part[:1]) + part[1:])
    return b"".join(text).decode()


def _written(value: str | None) -> bytes:
    if value is None:
        return b"\\N"
    text = value.replace("\\", "\\\\") if "\\" in value else value
    if "\n" in text or "\t" in text or "\r" in text:
        text = text.replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    return text.encode()
