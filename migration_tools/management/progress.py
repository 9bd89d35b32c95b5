"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere, nothing in JSON mode.

    with progress("backfill sales_order", total=50_000, done=checkpoint.rows) as bar:
        bar.advance(1_000)
        bar.note("throttled: lag 2.3 s")
        bar.note("")

Showing progress never ends the work: a stream that was closed meanwhile is written to no more.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Protocol, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID
    from rich.text import Text

LINE_EVERY_SECONDS = 3.0


class Progress(Protocol):
    """What the work tells; callable from any thread."""

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more are done."""

    def expect(self, total: int) -> None:
        """Correct the total."""

    def note(self, text: str) -> None:
        """Say beside the figures what holds now; '' takes it back."""

    def say(self, message: str) -> None:
        """Print one line that stays."""


def progress(
    title: str,
    total: int | None = None,
    *,
    done: int = 0,
    stream: TextIO | None = None,
    json_mode: bool = False,
    every_seconds: float = LINE_EVERY_SECONDS,
) -> AbstractContextManager[Progress]:
    """Show the progress of one piece of work while the context is open.

    Args:
        total: How many there are; None when that is not known.
        done: How many an earlier run did; they count for the figures and not for the rate.
        stream: Where to; standard error by default.
        json_mode: Show nothing, since somebody parses the output.
    """
    out = sys.stderr if stream is None else stream
    if json_mode:
        return nullcontext(Silence())
    if out.isatty():
        try:
            return _drawn(title, total, done, out)
        except ImportError:
            pass
    return _written(title, total, done, out, every_seconds)


def summary(
    title: str, done: int, total: int | None, *, rate: float | None, remaining: float | None, note: str = ""
) -> str:
    """One line: `backfill sales_order: 12,000 of 50,000 (24 %), 9,800/s, 4 s left; throttled`."""
    text = f"{title}: {done:,}"
    if total is not None:
        text += f" of {total:,}" + (f" ({100 * done // total} %)" if total > 0 else "")
    if rate is not None:
        text += f", {rate:,.0f}/s"
    if remaining is not None:
        text += f", {duration(remaining)} left"
    return f"{text}; {note}" if note else text


def duration(seconds: float) -> str:
    """Spell a time as a person would: 4 s, 2 min 05 s, 1 h 20 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


class Silence:
    """Progress that nobody watches."""

    def advance(self, amount: int = 1) -> None:
        """Nothing to show."""

    def expect(self, total: int) -> None:
        """Nothing to show."""

    def note(self, text: str) -> None:
        """Nothing to show."""

    def say(self, message: str) -> None:
        """Nothing to show."""


class Lines:
    """Progress as plain lines, for logs and pipes."""

    def __init__(
        self,
        title: str,
        total: int | None,
        done: int,
        stream: TextIO,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._title, self._total, self._done, self._stream = title, total, done, stream
        self._clock, self._note = clock, ""
        self._first = self._last = (clock(), done)
        self._lock = threading.RLock()
        self._gone = False

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more are done."""
        with self._lock:
            self._done += amount

    def expect(self, total: int) -> None:
        """Correct the total."""
        with self._lock:
            self._total = total

    def note(self, text: str) -> None:
        """Say beside the figures what holds now; '' takes it back."""
        with self._lock:
            self._note = text

    def say(self, message: str) -> None:
        """Print one line that stays."""
        with self._lock:
            if self._gone:
                return
            try:
                self._stream.write(f"{message}\n")
                self._stream.flush()
            except (OSError, ValueError):  # ValueError: the stream is closed
                self._gone = True

    def tell(self) -> None:
        """Print the figures: the rate since the last line, the time left by the rate since the start."""
        with self._lock:
            now = (self._clock(), self._done)
            rate, average = _rate(self._last, now), _rate(self._first, now)
            left = (self._total - self._done) / average if self._total is not None and average else None
            self._last = now
            self.say(
                summary(
                    self._title,
                    self._done,
                    self._total,
                    rate=rate,
                    remaining=left and max(left, 0.0),
                    note=self._note,
                )
            )

    def close(self, *, failed: bool) -> None:
        """Print the last line: how far it came, how long it took."""
        with self._lock:
            now = (self._clock(), self._done)
            self._note = f"{'stopped after' if failed else 'done in'} {duration(now[0] - self._first[0])}"
            average = _rate(self._first, now)
            self.say(summary(self._title, self._done, self._total, rate=average, remaining=None, note=self._note))


class Bar:
    """Progress as a bar that rich draws."""

    def __init__(self, bars: "RichProgress", task: "TaskID") -> None:
        self._bars, self._task = bars, task

    def advance(self, amount: int = 1) -> None:
        """Say that `amount` more are done."""
        self._bars.advance(self._task, amount)

    def expect(self, total: int) -> None:
        """Correct the total."""
        self._bars.update(self._task, total=total)

    def note(self, text: str) -> None:
        """Say beside the figures what holds now; '' takes it back."""
        self._bars.update(self._task, note=text)

    def say(self, message: str) -> None:
        """Print one line that stays, above the bar."""
        self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)


def _rate(before: tuple[float, int], after: tuple[float, int]) -> float | None:
    seconds = after[0] - before[0]
    return (after[1] - before[1]) / seconds if seconds > 0 else None


@contextmanager
def _written(title: str, total: int | None, done: int, stream: TextIO, every_seconds: float) -> Iterator[Progress]:
    """Tell from a thread, so that lines go on while the work waits."""
    lines = Lines(title, total, done, stream)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(every_seconds):
            lines.tell()

    teller = threading.Thread(target=beat, name="strangle-progress", daemon=True)
    teller.start()
    failed = True
    try:
        yield lines
        failed = False
    finally:
        stop.set()
        teller.join()
        lines.close(failed=failed)


def _drawn(title: str, total: int | None, done: int, stream: TextIO) -> AbstractContextManager[Progress]:
    """Draw with rich; ImportError, before anything is shown, when it is not installed."""
    from rich.console import Console
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress
    from rich.table import Column
    from rich.text import Text

    class Figures(ProgressColumn):
        """Done, total and rate."""

        def render(self, task: "Task") -> "Text":
            rate = task.finished_speed or task.speed
            whole = None if task.total is None else int(task.total)
            return Text(summary("", int(task.completed), whole, rate=rate, remaining=None).removeprefix(": "))

    bars = RichProgress(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=24),
        Figures(table_column=Column(no_wrap=True)),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[note]}", markup=False, style="yellow", table_column=Column(no_wrap=True)),
        console=Console(file=stream),
    )

    @contextmanager
    def shown() -> Iterator[Progress]:
        with bars:
            yield Bar(bars, bars.add_task(title, total=total, completed=done, note=""))

    return shown()
