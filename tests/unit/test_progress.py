"""Progress is a bar on a terminal, lines elsewhere and nothing in JSON mode; it never ends the work."""

import io
import sys
import threading

import pytest

from migration_tools.management.progress import Lines, Silence, duration, progress, summary


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Watched(io.StringIO):
    """A stream that tells when a line with the awaited text was written."""

    def __init__(self, awaited: str) -> None:
        super().__init__()
        self.awaited, self.seen = awaited, threading.Event()

    def write(self, text: str) -> int:
        if self.awaited in text:
            self.seen.set()
        return super().write(text)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_elsewhere_it_tells_figures_rate_and_time_left() -> None:
    stream, clock = io.StringIO(), Clock()
    lines = Lines("copy", 1_000, 200, stream, clock)
    lines.advance(100)
    clock.now += 2.0
    lines.tell()
    lines.advance(300)
    lines.note("throttled: lag 2.3 s")
    clock.now += 2.0
    lines.tell()
    lines.note("")
    lines.expect(600)
    lines.close(failed=False)
    assert stream.getvalue().splitlines() == [
        "copy: 300 of 1,000 (30 %), 50/s, 14 s left",
        "copy: 600 of 1,000 (60 %), 150/s, 4 s left; throttled: lag 2.3 s",
        "copy: 600 of 600 (100 %), 100/s; done in 4 s",
    ]


def test_lines_go_on_while_the_work_waits() -> None:
    stream = Watched("throttled")
    with progress("copy", 10, stream=stream, every_seconds=0.01) as bar:
        bar.note("throttled: lag 2.3 s")
        assert stream.seen.wait(20)


def test_a_quick_work_is_one_line() -> None:
    stream = io.StringIO()
    with progress("copy", 10, stream=stream) as bar:
        bar.advance(10)
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().startswith("copy: 10 of 10 (100 %), ")
    assert stream.getvalue().endswith("; done in 0 s\n")


def test_work_that_fails_says_how_far_it_came() -> None:
    stream = io.StringIO()

    def work() -> None:
        with progress("copy", 10, stream=stream) as bar:
            bar.advance(4)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert "copy: 4 of 10 (40 %)" in stream.getvalue()
    assert "; stopped after 0 s" in stream.getvalue()


def test_json_mode_shows_nothing_even_on_a_terminal() -> None:
    stream = Terminal()
    with progress("copy", 10, stream=stream, json_mode=True) as bar:
        bar.advance(10)
        bar.expect(20)
        bar.note("throttled")
        bar.say("chunk copied")
    assert isinstance(bar, Silence)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar() -> None:
    stream = Terminal()
    with progress("copy [bold]", 1_000, done=500, stream=stream) as bar:
        bar.advance(250)
        bar.note("[throttled]")
        bar.say("chunk [1] copied")
        bar.expect(750)
    text = stream.getvalue()
    for part in (
        "copy [bold]",
        "\N{BOX DRAWINGS HEAVY HORIZONTAL}",
        "750 of 750 (100 %)",
        "[throttled]",
        "chunk [1]",
    ):
        assert part in text


def test_without_rich_a_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "rich"]:
        monkeypatch.setitem(sys.modules, name, None)
    stream = Terminal()
    with progress("copy", stream=stream) as bar:
        bar.advance(3)
        bar.say("chunk copied")
    assert isinstance(bar, Lines)
    assert stream.getvalue().splitlines()[0] == "chunk copied"
    assert stream.getvalue().splitlines()[1].startswith("copy: 3, ")


def test_a_closed_stream_does_not_end_the_work() -> None:
    stream = io.StringIO()
    with progress("copy", 10, stream=stream) as bar:
        stream.close()
        bar.say("nobody listens")
        bar.advance(10)


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("copy", 10):
        pass
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "copy: 0 of 10" in captured.err


def test_a_total_of_none_and_of_nothing() -> None:
    assert summary("copy", 5, None, rate=None, remaining=None) == "copy: 5"
    assert summary("copy", 0, 0, rate=None, remaining=None) == "copy: 0 of 0"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (125, "2 min 05 s"), (4_800, "1 h 20 min")],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
