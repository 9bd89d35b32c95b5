"""What was observed, added up: statements by site, transactions by the function that coordinates them; as JSON."""

import json
import os
import threading
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Place
from migration_tools.analysis.frames import Frame, innermost, shared
from migration_tools.analysis.observation import Observation, Scope, Unit
from migration_tools.errors import AnalysisError

VERSION = 1


@dataclass(kw_only=True)
class Sent:
    """One shape sent from one place by one context's code: how often, and how often at most in one request or test."""

    shape: str
    context: str | None
    function: str
    place: Place
    count: int = 0
    most: int = 0


@dataclass(kw_only=True)
class Written:
    """One function whose transactions wrote these tables together."""

    function: str
    context: str | None
    place: Place
    tables: tuple[str, ...]
    count: int = 0


@dataclass
class Trace:
    """A listener that adds up what it observes; safe with threads."""

    contexts: ContextMap
    sent: dict[tuple[str, str, int], Sent] = field(default_factory=dict)
    written: dict[tuple[str, tuple[str, ...]], Written] = field(default_factory=dict)
    _counts: dict[int, tuple[Scope, dict[tuple[str, str, int], int]]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, seen: Observation) -> None:
        """Count a statement, and its writes to its transaction."""
        with self._lock:
            self._count(seen)
            if seen.statement.writes:
                self._write(seen)

    def _count(self, seen: Observation) -> None:
        site = seen.site
        place = site.place if site else Place()
        key = (seen.shape, place.file, place.line)
        sent = self.sent.get(key)
        if sent is None:
            sent = self.sent[key] = Sent(
                shape=seen.shape,
                context=site.context if site else None,
                function=site.function if site else "",
                place=place,
            )
        sent.count += 1
        within = self._counts.get(id(seen.scope))
        if within is None or within[0] is not seen.scope:
            if len(self._counts) > 64:
                self._counts.clear()
            within = self._counts[id(seen.scope)] = (seen.scope, {})
        within[1][key] = within[1].get(key, 0) + 1
        if seen.scope.name != "process":
            sent.most = max(sent.most, within[1][key])

    def _write(self, seen: Observation) -> None:
        unit = seen.unit
        entry = note_write(unit, seen, self.contexts)
        together = {context for context in unit.writes if not self.contexts.is_framework(context)}
        if len(together) < 2:
            return
        tables = tuple(sorted(table for context in together for table in unit.writes[context]))
        self._replace(unit, entry, tables)

    def _replace(self, unit: Unit, entry: Frame | None, tables: tuple[str, ...]) -> None:
        """Count a transaction once, by all that it has written so far."""
        function = entry.function if entry else ""
        before, key = unit.noted, (function, tables)
        if before == key:
            return
        if before is not None and before in self.written:
            self.written[before].count -= 1
            if not self.written[before].count:
                del self.written[before]
        place = entry.start if entry else Place()
        context = entry.context if entry else None
        made = Written(function=function, context=context, place=place, tables=tables)
        self.written.setdefault(key, made).count += 1
        unit.noted = key

    def under(self, contexts: ContextMap) -> Self:
        """The same, each function in the context that this map gives its module: names and borders may have changed."""
        self.contexts = contexts
        for sent in self.sent.values():
            sent.context = contexts.of_module(sent.function)
        for written in self.written.values():
            written.context = contexts.of_module(written.function)
        return self

    def to_json(self) -> dict[str, Any]:
        """All of it, in a stable order."""
        return {
            "version": VERSION,
            "sent": [asdict(each) for _, each in sorted(self.sent.items())],
            "written": [asdict(each) for _, each in sorted(self.written.items())],
        }

    def save(self, path: Path) -> None:
        """Write the file whole, or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        with self._lock:
            text = json.dumps(self.to_json(), ensure_ascii=False, indent=1)
        partial.write_text(text + "\n")
        partial.replace(path)

    @classmethod
    def read(cls, paths: Iterable[Path], contexts: ContextMap) -> Self:
        """Add up traces of several processes; a directory means every trace in it.

        Raises:
            AnalysisError: one is missing, or is no trace of this version.
        """
        trace = cls(contexts)
        for path in paths:
            for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
                trace.add(_document(file))
        return trace.under(contexts)

    def add(self, document: Mapping[str, Any]) -> None:
        """Add another trace to this one."""
        for given in document["sent"]:
            place = Place(**given["place"])
            key = (given["shape"], place.file, place.line)
            sent = self.sent.setdefault(key, Sent(**{**given, "place": place, "count": 0, "most": 0}))
            sent.count += given["count"]
            sent.most = max(sent.most, given["most"])
        for given in document["written"]:
            tables = tuple(given["tables"])
            made = Written(**{**given, "place": Place(**given["place"]), "tables": tables, "count": 0})
            self.written.setdefault((given["function"], tables), made).count += given["count"]


def note_write(unit: Unit, seen: Observation, contexts: ContextMap) -> Frame | None:
    """Add a statement's writes to its transaction; give the function that coordinates all of them so far."""
    counted = False
    for table in seen.statement.writes:
        context = contexts.of_table(table)
        if context is not None:
            unit.writes.setdefault(context, set()).add(table)
            counted = counted or not contexts.is_framework(context)
    if counted:
        # Django's own writes (a session, a login's time) come from its middleware, not from what coordinates ours.
        unit.entry = seen.frames if unit.entry is None else shared(unit.entry, seen.frames)
    entry = unit.entry or ()
    return innermost(entry) or (entry[-1] if entry else None)


def _document(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise AnalysisError(f"the trace {path.name!r} cannot be read: {error}") from error
    if not isinstance(document, dict) or document.get("version") != VERSION or "sent" not in document:
        raise AnalysisError(f"{path.name!r} is no trace of version {VERSION}; record it again with --strangle-trace")
    return document
