"""Files of SQL beside a context's code, which its code reads and runs."""

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from migration_tools.analysis.code import SKIPPED, Module
from migration_tools.analysis.context_map import ContextMap
from migration_tools.analysis.findings import Finding

_END = re.compile(r";[ \t]*(?:--[^\n]*)?(?:\n|$)")


def find_in_sql_files(contexts: ContextMap) -> Iterator[Finding]:
    """SFA111 for each statement of a `.sql` file in a context's packages that names another context's table."""
    seen: set[Path] = set()
    for context in contexts.contexts.values():
        for prefix in () if context.framework else context.code:
            for package, path in _below(prefix):
                here = contexts.of_module(package)
                if path in seen or here is None or SKIPPED & set(package.split(".")):
                    continue
                seen.add(path)
                file, line = Module(f"{package}/{path.name}", path, here, contexts), 1
                for text in _statements(path):
                    lead = len(text) - len(text.lstrip())
                    yield from file.raw_sql(text, line + text[:lead].count("\n"))
                    line += text.count("\n")


def _below(prefix: str) -> Iterator[tuple[str, Path]]:
    """(package, file) of the SQL in a package and its folders."""
    try:
        spec = find_spec(prefix)
    except ModuleNotFoundError:
        return
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        for path in sorted(Path(folder).rglob("*.sql")):
            yield ".".join([prefix, *path.relative_to(folder).parent.parts]), path


def _statements(path: Path) -> Iterator[str]:
    """A file's text, cut behind each statement's end; nothing where it is no text."""
    try:
        text = path.read_text()
    except UnicodeDecodeError:
        return
    at = 0
    for end in _END.finditer(text):
        yield text[at : end.end()]
        at = end.end()
    yield text[at:]
