"""Draft sagas from observed transactions that write tables of several contexts: a beginning to be filled in."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from migration_tools.analysis.context_file import load_contexts
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.trace import Trace, Written
from migration_tools.analysis.traced import touched
from migration_tools.errors import SagaError
from migration_tools.generation.formatting import tidied

HEAD = '''"""A draft from observed transactions: order the steps, name the pivot, fill in."""

from migration_tools.sagas.definition import LocalStep, Saga, Step
from migration_tools.sagas.declaring import declare


def todo(step: LocalStep) -> None:
    raise NotImplementedError(step.step)
'''
WIDTH = 88


def draft_result(traces: list[Path]) -> dict[str, Any]:
    """One saga for each function whose transactions write tables of several contexts, as Python.

    Raises:
        SagaError: no trace was given.
        AnalysisError: a trace cannot be read.
    """
    if not traces:
        raise SagaError("draft needs --trace PATH; record one by TraceMiddleware or by pytest --strangle-trace")
    contexts = load_contexts()
    found = merged(Trace.read(traces, contexts), contexts)
    sites = [
        {"function": each.function, "contexts": list(touched(frozenset(each.tables), contexts)), "count": each.count}
        for each in found
    ]
    lines = [HEAD, *(line for each in found for line in draft(each, contexts))] if found else []
    lines = tidied("\n".join([*lines, ""]), "sagas.py").splitlines() if lines else []
    return {"sites": sites, "lines": lines, "message": f"# {len(found)} transactions over several contexts"}


def merged(trace: Trace, contexts: ContextMap) -> list[Written]:
    """The observed transactions, one for each function with all that it was ever seen to write; the busiest first."""
    found: dict[str, Written] = {}
    for each in trace.written.values():
        if not each.function or len(touched(frozenset(each.tables), contexts)) < 2:
            continue  # a test's own arrangement, or one context
        before = found.get(each.function)
        tables = {*each.tables, *(before.tables if before else ())}
        found[each.function] = Written(
            function=each.function,
            context=each.context,
            place=each.place,
            tables=tuple(sorted(tables)),
            count=each.count + (before.count if before else 0),
        )
    return sorted(found.values(), key=lambda each: (-each.count, each.function))


def draft(written: Written, contexts: ContextMap) -> Iterator[str]:
    """A saga: what is pending here first, a step for each other context, and here again what confirms it."""
    wrote = touched(frozenset(written.tables), contexts)
    home = written.context if written.context in wrote else next(iter(wrote))
    action = written.function.rpartition(".")[2].strip("<>").lower() or "action"
    name = _constant(written.function)
    yield ""
    yield from _comment(f"seen {written.count} times: {written.function} ({written.place.file}:{written.place.line})")
    yield f"{name} = declare("
    yield "    Saga("
    yield f'        "{name.lower()[:50]}",'
    yield f'        stream="{home}",'
    yield "        steps=("
    yield from _comment(f"writes {', '.join(wrote[home])}: pending, until the last step", " " * 12)
    yield '            Step("begin", local=todo, undo=todo),'
    for context, tables in wrote.items():
        if context != home:
            yield from _comment(f"writes {', '.join(tables)}", " " * 12)
            yield "            Step("
            yield f'                "{context}",'
            yield f'                command="{context}.{action}",'
            yield f'                compensation="{context}.undo_{action}",'
            yield f'                replies="{context}",'
            yield "            ),"
    yield '            Step("confirm", local=todo),'
    yield "        ),"
    yield "    )"
    yield ")"


def _comment(text: str, indent: str = "") -> list[str]:
    """As lines that no linter finds too long, however many tables there are."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ", break_long_words=False
    )


def _constant(function: str) -> str:
    words = "".join(letter if letter.isalnum() else "_" for letter in function).strip("_").upper()
    return words.rpartition("__")[2] if len(words) > 50 else words
