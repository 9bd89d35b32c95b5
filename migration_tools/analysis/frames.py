"""The monolith's own frames on the stack: which code runs a statement, and which function coordinates several."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Place
from migration_tools.analysis.locations import shown_path


@dataclass(frozen=True)
class Frame:
    """One call of the monolith's code. `call` tells two calls of the same function apart.

    It is the interpreter's own frame and not its address, which the next call is given as soon as this one ends. It
    keeps the call's local variables, so frames are kept no longer than their transaction's request (`forget`).
    """

    context: str | None
    function: str
    file: str
    line: int
    first_line: int
    call: FrameType = field(repr=False)

    @property
    def place(self) -> Place:
        """Where the call stands now."""
        return Place(file=shown_path(self.file), line=self.line)

    @property
    def start(self) -> Place:
        """Where the function begins."""
        return Place(file=shown_path(self.file), line=self.first_line)


def frames_of(contexts: ContextMap) -> tuple[Frame, ...]:
    """The frames of the monolith's code that run now, outermost first, those left out that the map ignores."""
    found = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if contexts.is_project(module) and not contexts.is_ignored(module):
            code = frame.f_code
            found.append(
                Frame(
                    context=contexts.of_module(module),
                    function=f"{module}.{code.co_qualname}",
                    file=code.co_filename,
                    line=frame.f_lineno,
                    first_line=code.co_firstlineno,
                    call=frame,
                )
            )
        frame = frame.f_back
    return tuple(reversed(found))


def innermost(frames: Sequence[Frame]) -> Frame | None:
    """The frame whose context runs the statement: the nearest that some context claims."""
    return next((frame for frame in reversed(frames) if frame.context is not None), None)


def shared(one: Sequence[Frame], other: Sequence[Frame]) -> tuple[Frame, ...]:
    """The calls that both stacks began with: the last of them coordinates the two."""
    together = []
    for a, b in zip(one, other, strict=False):
        if a.call is not b.call:
            break
        together.append(a)
    return tuple(together)
