"""The ledger: a JSON line for every write attempted and acknowledged, kept apart from the code under test."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

INTENT = "intent"
ACKNOWLEDGED = "acknowledged"
REFUSED = "refused"


class Ledger:
    """Append-only and safe between threads.

    An *intent* is written before the request leaves, so a write whose answer never came is known to be
    unknown: it may exist or not. An *acknowledgement* closes it: from then on the write must exist, once.
    A *refusal* closes it the other way: the write was answered "no", and must not exist.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._file: TextIO = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._numbers = itertools.count(_next_number(path))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def intent(self, operation: str, **facts: Any) -> int:
        """Record that a write is about to be sent; give the number that its outcome names."""
        with self._lock:
            number = next(self._numbers)
            self._append({"kind": INTENT, "number": number, "operation": operation, **facts})
        return number

    def acknowledge(self, number: int, **facts: Any) -> None:
        with self._lock:
            self._append({"kind": ACKNOWLEDGED, "number": number, **facts})

    def refuse(self, number: int, reason: str) -> None:
        with self._lock:
            self._append({"kind": REFUSED, "number": number, "reason": reason})

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def _append(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps({"at": round(time.time(), 6), **entry}, ensure_ascii=False) + "\n")
        self._file.flush()


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries in the order of writing; a last line torn by a killed writer is left out."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.endswith("\n"):
                return
            yield json.loads(line)


def _next_number(path: Path) -> int:
    if not path.exists():
        return 1
    return 1 + max((entry["number"] for entry in read(path)), default=0)
