"""Edits of a module's text that leave all the rest as it is: a field declared anew, an import added."""

import ast
import sys
from collections.abc import Sequence

from migration_tools.errors import AnalysisError

OTHERS = 2


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
    """Import each (module, name) that is not yet, where the first block of imports has its like, in their order.

    The modules are of other packages than the text's own.
    """
    for module, name in imports:
        text = _add_import(text, module, name)
    return text


def _add_import(text: str, module: str, name: str) -> str:
    block = _first_imports(text)
    lines = text.splitlines(keepends=True)
    for node in block:
        if isinstance(node, ast.ImportFrom) and not node.level and node.module == module:
            if name in {each.name for each in node.names}:
                return text
            names = sorted([*node.names, ast.alias(name)], key=lambda each: each.name)
            return _replaced(lines, node, ast.unparse(ast.ImportFrom(module, names, 0)) + "\n")
    made = f"from {module} import {name}\n"
    like = [node for node in block if _section(node) == OTHERS]
    for node in like:
        if isinstance(node, ast.ImportFrom) and str(node.module) > module:
            return "".join([*lines[: node.lineno - 1], made, *lines[node.lineno - 1 :]])
    before = like or [node for node in block if _section(node) < OTHERS]
    if before:
        at = before[-1].end_lineno or before[-1].lineno
        return "".join([*lines[:at], *([] if like else ["\n"]), made, *lines[at:]])
    at = block[0].lineno - 1 if block else _behind_docstring(text)
    head = [*lines[:at], "\n"] if at and not block else lines[:at]
    return "".join([*head, made, *(["\n"] if block else []), *lines[at:]])


def _first_imports(text: str) -> list[ast.Import | ast.ImportFrom]:
    found: list[ast.Import | ast.ImportFrom] = []
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif found or not _is_docstring(node):
            break
    return found


def _section(node: ast.Import | ast.ImportFrom) -> int:
    """The future, the standard library, other packages, the package itself: the order in which formatters have them."""
    if isinstance(node, ast.ImportFrom) and node.level:
        return OTHERS + 1
    root = str(node.module if isinstance(node, ast.ImportFrom) else node.names[0].name).partition(".")[0]
    return 0 if root == "__future__" else 1 if root in sys.stdlib_module_names else OTHERS


def _behind_docstring(text: str) -> int:
    body = ast.parse(text).body
    return body[0].end_lineno or 0 if body and _is_docstring(body[0]) else 0


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _replaced(lines: list[str], node: ast.stmt, new: str) -> str:
    return "".join([*lines[: node.lineno - 1], new, *lines[node.end_lineno or node.lineno :]])


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
            return _replaced(text.splitlines(keepends=True), node, ast.unparse(node) + "\n" if node.names else "")
    return text


def _assigned(node: ast.stmt) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {each.id for each in targets if isinstance(each, ast.Name)}
