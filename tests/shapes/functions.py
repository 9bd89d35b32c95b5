"""Functions of mappings: right ones, and every kind of wrong one."""

import itertools
import os
import random
import signal
from pathlib import Path
from typing import Any

COUNT = itertools.count()


def same(value: Any) -> Any:
    """The value, by way of Python."""
    return value


def shout(text: str | None, mark: str = "!") -> str | None:
    """One that can be turned round."""
    return None if text is None else f"{text.upper()}{mark}"


def whisper(text: str | None) -> str | None:
    """The way back of `shout`."""
    return None if text is None else text.removesuffix("!").lower()


def initials(title: str, body: str | None) -> list[str]:
    """Several columns into one of another type."""
    return [word[0] for word in f"{title} {body or ''}".split()]


def raising(text: str | None) -> str | None:
    """One that a certain row is too much for."""
    if text and "poison" in text:
        raise ValueError(f"cannot bear {text}")
    return text


def counting(text: str | None) -> str:
    """One that remembers."""
    return f"{text}{next(COUNT)}"


def dicing(text: str | None) -> str:
    """One that is random."""
    return f"{text}{random.random()}"


def unordered(text: str | None) -> str:
    """One that trusts the order of a set, which is another one in each process."""
    return "".join({f"{text}{n}" for n in range(50)})


def of_the_wrong_type(text: str | None) -> Any:
    """One whose answer no column holds."""
    return {"text": text}


def no_number(text: str | None) -> str:
    """One whose answer an integer column does not hold."""
    return f"secret {text}"


def dying(text: str | None) -> str | None:
    """One whose process is killed, once for each file that KILL_ONCE names and that is there."""
    mark = Path(os.environ.get("KILL_ONCE", "/nonexistent"))
    if text and "deadly" in text and mark.exists():
        mark.unlink()
        os.kill(os.getpid(), signal.SIGKILL)
    return text
