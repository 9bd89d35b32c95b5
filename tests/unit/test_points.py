"""Named points: armed from the environment of a process, and noted when asked."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PASS_THREE = "from migration_tools.kernel import points; [points.reached('a.b') for _ in range(3)]"


def passing(**env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", PASS_THREE],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_nothing_happens_at_a_point_that_is_not_armed() -> None:
    assert passing().returncode == 0
    assert passing(STRANGLE_POINTS="c.d=kill").returncode == 0


def test_a_process_dies_at_the_passage_that_was_asked_for(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    done = passing(STRANGLE_POINTS="a.b=kill@2", STRANGLE_POINTS_SEEN=str(seen))
    assert done.returncode == -signal.SIGKILL
    assert seen.read_text().split() == ["a.b", "a.b"]
    assert passing(STRANGLE_POINTS="a.b=kill@4").returncode == 0


def test_a_process_is_interrupted_at_a_point() -> None:
    assert passing(STRANGLE_POINTS="a.b=interrupt@3").returncode == -signal.SIGINT


def test_every_passage_is_noted_in_order(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    assert passing(STRANGLE_POINTS_SEEN=str(seen)).returncode == 0
    assert seen.read_text().split() == ["a.b"] * 3


@pytest.mark.parametrize("word", ["a.b=explode", "a.b", "a.b=kil@2"])
def test_a_word_that_is_not_known_is_refused_with_what_is(word: str) -> None:
    done = passing(STRANGLE_POINTS=word)
    assert done.returncode == 1
    assert "use name=kill, =stop, =interrupt" in done.stderr


def test_no_point_is_armed_where_nobody_asked() -> None:
    assert "STRANGLE_POINTS" not in os.environ
