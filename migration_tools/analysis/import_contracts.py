"""Contracts for import-linter, made from the context map: no new import across contexts, the known ones listed."""

from collections.abc import Iterator

from migration_tools.analysis.context_map import Context, ContextMap
from migration_tools.analysis.imports import find_imports, is_everybodys


def render_contracts(contexts: ContextMap) -> str:
    """A whole configuration. An import that is gone must leave its list: import-linter says so; that is the ratchet."""
    known: dict[str, list[str]] = {}
    for finding in find_imports(contexts):
        known.setdefault(finding.source, []).append(f"{finding.detail['importer']} -> {finding.detail['imported']}")
    real = [each for each in contexts.contexts.values() if not each.framework and each.code]
    roots = sorted({prefix.partition(".")[0] for each in real for prefix in each.code})
    lines = ["[importlinter]", "root_packages =", *(f"    {root}" for root in roots)]
    for context in real:
        lines += _contract(context, real, sorted(known.get(context.name, [])))
    return "\n".join(lines) + "\n"


def _contract(context: Context, everyone: list[Context], ignored: list[str]) -> Iterator[str]:
    forbidden = [
        f"{prefix}.models" if is_everybodys(prefix) else prefix
        for other in everyone
        if other.name != context.name
        for prefix in other.code
        if not any(_related(prefix, own) for own in context.code)
    ]
    if not forbidden:
        return
    yield ""
    yield f"[importlinter:contract:context-{context.name}]"
    yield f"name = {context.name} imports no other context"
    yield "type = forbidden"
    yield "source_modules ="
    yield from (f"    {prefix}" for prefix in context.code)
    yield "forbidden_modules ="
    yield from (f"    {prefix}" for prefix in forbidden)
    yield "allow_indirect_imports = True"
    if ignored:
        yield "ignore_imports ="
        yield from (f"    {each}" for each in ignored)


def _related(one: str, other: str) -> bool:
    """Whether one package holds the other; import-linter cannot forbid those."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")
