"""Imports across contexts, from grimp's graph of the project's packages."""

from collections.abc import Iterator

from migration_tools.analysis.code import SKIPPED, modules
from migration_tools.analysis.context_map import FRAMEWORK, ContextMap
from migration_tools.analysis.extra import load
from migration_tools.analysis.findings import Finding, Place
from migration_tools.analysis.locations import shown_path


def is_everybodys(module: str) -> bool:
    """Whether a module is a framework's, but for its models: who imports `login_required` asks for no user's row."""
    return module.startswith(FRAMEWORK) and "models" not in module.split(".")


def find_imports(contexts: ContextMap) -> Iterator[Finding]:
    """SFA110: a module of one context imports a module of another, once for each pair of modules."""
    files = dict(modules(contexts))
    roots = sorted({name.partition(".")[0] for name in files})
    if not roots:
        return
    graph = load("grimp").build_graph(*roots, cache_dir=None)
    for module in sorted(graph.modules):
        here = contexts.of_module(module)
        if here is None or contexts.is_framework(here) or SKIPPED & set(module.split(".")):
            continue
        for imported in sorted(graph.find_modules_directly_imported_by(module)):
            there = contexts.of_module(imported)
            if there is None or there == here or contexts.is_framework(there) or is_everybodys(imported):
                continue
            details = graph.get_import_details(importer=module, imported=imported)
            line = details[0]["line_number"] if details else 0
            yield Finding(
                rule="SFA110",
                source=here,
                target=there,
                message=f"{module} imports {imported}",
                place=Place(file=shown_path(str(files[module])) if module in files else "", line=line),
                detail={"importer": module, "imported": imported, "key": f"{module}:{imported}"},
            )
