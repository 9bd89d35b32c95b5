"""`make demo` with the console open: the address and login that it prints are enough to watch the phases go by."""

import re
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from migration_tools.overview.road import read_road
from migration_tools.state.phase import Phase
from tests.conftest import ROOT
from tests.console.conftest import SIZES

pytestmark = pytest.mark.thorough

SECONDS = 240.0
WATCHED = r"watch it in the console: (\S+) \(log in as (\S+), password (\S+)\)"
TITLES = [each["title"] for each in read_road(Phase.MONOLITH_ONLY, [])]
HERE = "document.querySelector('.board [aria-current=step] .label')?.innerText || ''"


class Narration:
    """What a demo that runs prints, read as it comes."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.said = ""
        self._process = process
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.said += line

    def awaited(self, pattern: str) -> "re.Match[str]":
        deadline = time.monotonic() + SECONDS
        while not (found := re.search(pattern, self.said)):
            assert self._process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)
        return found


def test_the_board_follows_the_demo_from_phase_to_phase_by_itself(chromium: Any, photograph: Any) -> None:
    argv = [sys.executable, "-m", "demo", "--orders", "500", "--seed", "3"]
    with subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            narration = Narration(process)
            url, who, password = narration.awaited(WATCHED).groups()
            width, height = SIZES["laptop"]
            context = chromium.new_context(viewport={"width": width, "height": height})
            page = context.new_page()
            page.goto(url)
            page.fill("[name=username]", who)
            page.fill("[name=password]", password)
            page.click("form button")
            page.wait_for_url(url)
            loads: list[str] = []
            page.on("load", lambda _: loads.append(page.url))
            seen = watch(page, narration)
            assert loads == [], "the page was never loaded anew"
            photograph(page, "board-during-the-demo-laptop-light")
            page.goto(f"{url}orders/")
            assert re.search("possible now|under way", page.inner_text("section[aria-labelledby=h-back]"))
            photograph(page, "overview-during-the-demo-laptop-light")
            context.close()
        finally:
            process.send_signal(signal.SIGINT)
            ended = process.wait(60)
    assert ended == 130, narration.said
    assert [TITLES.index(each) for each in seen] == sorted(TITLES.index(each) for each in seen), seen
    assert len(seen) >= 3, seen


def watch(page: Any, narration: Narration) -> list[str]:
    """The stations at which the board showed the context, until the service answers readers."""
    seen: list[str] = []
    deadline = time.monotonic() + SECONDS
    while TITLES.index(seen[-1] if seen else TITLES[0]) < TITLES.index("switch reads"):
        assert time.monotonic() < deadline, (seen, narration.said)
        here = page.evaluate(HERE)
        if here in TITLES and here not in seen[-1:]:
            seen.append(here)
        page.wait_for_timeout(100)
    return seen
