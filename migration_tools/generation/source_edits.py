"""Edits of a module's text that leave all the rest as it is: a field declared anew, an import added."""

import ast
from collections.abc import Sequence

from migration_tools.errors import AnalysisError


def replace_field(text: str, model: str, field: str, declaration: str) -> str:
    """Put `declaration` in the place of a field's assignment in the body of a class; a comment behind it stays.

    Raises:
        AnalysisError: the class is not in the text, or its body does not assign the field.
    """
    classes = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == model]
    for node in classes[0].body if classes else []:
        if field in _assigned(node):
            lines = text.splitlines(keepends=True)
            first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
            before = lines[first].encode()[: node.col_offset].decode()
            after = lines[last].encode()[node.end_col_offset :].decode()
            return "".join([*lines[:first], before + declaration + after, *lines[last + 1 :]])
    raise AnalysisError(
        f"the body of class {model!r} does not declare {field!r} (a base class may); declare it there, then try again"
    )


def declared_options(text: str, model: str, field: str, dropped: frozenset[str]) -> list[str]:
    """The keyword arguments of a field's declaration as they are written, without some."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef) and node.name == model:
            for each in node.body:
                if field in _assigned(each) and isinstance(value := getattr(each, "value", None), ast.Call):
                    return [ast.unparse(word) for word in value.keywords if word.arg not in dropped]
    return []


def add_imports(text: str, imports: Sequence[tuple[str, str]]) -> str:
    """Import each (module, name) that is not yet, behind the first block of imports; a formatter sorts them."""
    tree = ast.parse(text)
    there = {(node.module, each.name) for node in tree.body if isinstance(node, ast.ImportFrom) for each in node.names}
    missing = [f"from {module} import {name}" for module, name in imports if (module, name) not in there]
    if not missing:
        return text
    at = 0
    for number, node in enumerate(tree.body):
        docstring = not number and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if not docstring and not isinstance(node, ast.Import | ast.ImportFrom):
            break
        at = node.end_lineno or node.lineno
    lines = text.splitlines(keepends=True)
    head = "".join(lines[:at])
    only_text = bool(tree.body) and not any(isinstance(n, ast.Import | ast.ImportFrom) for n in tree.body)
    gap = "\n" if only_text else ""
    return head + gap + "".join(f"{line}\n" for line in missing) + "".join(lines[at:])


def imports_for_types(text: str, module: str, name: str) -> bool:
    """Whether a name is imported for annotations alone, below `if TYPE_CHECKING`."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            found = [each for each in node.body if isinstance(each, ast.ImportFrom) and each.module == module]
            return any(alias.name == name for each in found for alias in each.names)
    return False


def drop_import(text: str, name: str) -> str:
    """Take the import of a name away that nothing in the text uses any more."""
    tree = ast.parse(text)
    if any(isinstance(node, ast.Name) and node.id == name for node in ast.walk(tree)):
        return text
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and any((each.asname or each.name) == name for each in node.names):
            node.names = [each for each in node.names if (each.asname or each.name) != name]
            lines = text.splitlines(keepends=True)
            kept = [ast.unparse(node) + "\n"] if node.names else []
            return "".join([*lines[: node.lineno - 1], *kept, *lines[node.end_lineno or node.lineno :]])
    return text


def _assigned(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {each.id for each in targets if isinstance(each, ast.Name)}
