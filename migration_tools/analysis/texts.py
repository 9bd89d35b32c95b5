"""The strings of a module as they are when put together: pieces, placeholders, names that stand for one or several."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, product

#: Of a string with several ways to read it, how many are read.
WAYS = 16
UNKNOWN = ("x",)
Names = Mapping[str, tuple[str, ...]]
#: Calls whose text is that of their last argument: psycopg's, and Django's `connection.ops.quote_name`.
_NAMING = {"SQL", "Identifier", "quote_name"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_FIELD = re.compile(r"\{\{|\}\}|\{([\w]*)[^{}]*\}")
_PERCENT = re.compile(r"%%|%(?:\((\w+)\))?[-#0 +]*\d*(?:\.\d+)?[a-zA-Z]")


def texts_of(tree: ast.Module, table_of: Callable[[str], str | None]) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """(text, line, what it is made of that is told where it is written) of every string but those that stand alone.

    Args:
        table_of: the table of a model by its name in the module; None for other names.
    """
    yield from _Reader(tree, table_of).read(tree, {})


class _Reader:
    """A module's tree, walked scope by scope; what cannot be known reads `x`."""

    def __init__(self, tree: ast.Module, table_of: Callable[[str], str | None]):
        self.table_of = table_of
        self.alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}

    def read(self, node: ast.AST, names: Names) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef):
            begun = names
            names = {**names, **self._assigned(node, names)}
            yield from self._grown(node, begun)
        if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp | ast.Call) and (found := self.fold(node, names)):
            if id(node) not in self.alone or not isinstance(node, ast.Constant | ast.JoinedStr):
                of = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
                made_of = tuple(text for name in sorted(of & names.keys()) for text in names[name])
                yield from ((text, getattr(node, "lineno", 1), made_of) for text in found)
            return
        for child in ast.iter_child_nodes(node):
            yield from self.read(child, names)

    def fold(self, node: ast.AST | None, names: Names) -> tuple[str, ...]:
        """Every text that an expression may be; nothing where it is none that can be read."""
        match node:
            case ast.Constant(value=str(text)):
                return (text,)
            case ast.Name(id=name):
                return names.get(name, ())
            case ast.FormattedValue(value=value):
                return self.fold(value, names)
            case ast.JoinedStr(values=parts):
                return _joined("", [self.fold(part, names) or UNKNOWN for part in parts])
            case ast.BinOp(op=ast.Add(), left=left, right=right):
                parts_ = [self.fold(left, names), self.fold(right, names)]
                return _joined("", [each or UNKNOWN for each in parts_]) if any(parts_) else ()
            case ast.BinOp(op=ast.Mod(), left=left, right=right):
                return self._filled(_PERCENT, self.fold(left, names), *self._values(right, names))
            case ast.Attribute(attr="db_table", value=ast.Attribute(attr="_meta", value=ast.Name(id=name))):
                table = self.table_of(name)
                return (table,) if table else ()
            case ast.Call(func=ast.Attribute(attr="format", value=value), args=args, keywords=words):
                named = {word.arg: self.fold(word.value, names) for word in words if word.arg}
                return self._filled(_FIELD, self.fold(value, names), [self.fold(arg, names) for arg in args], named)
            case ast.Call(func=ast.Attribute(attr="join", value=value), args=[ast.List() | ast.Tuple() as listed]):
                each_part = [self.fold(part, names) or UNKNOWN for part in listed.elts]
                return tuple(text for glue in self.fold(value, names) for text in _joined(glue, each_part))
            case ast.Call(func=ast.Attribute(attr=called) | ast.Name(id=called), args=[*_, last]) if called in _NAMING:
                return self.fold(last, names)
        return ()

    def _values(self, node: ast.expr, names: Names) -> tuple[list[tuple[str, ...]], dict[str, tuple[str, ...]]]:
        """What stands right of a `%`, by position and by name."""
        if isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            return [], {str(key.value): self.fold(v, names) for key, v in pairs if isinstance(key, ast.Constant)}
        return [self.fold(each, names) for each in (node.elts if isinstance(node, ast.Tuple) else [node])], {}

    def _filled(
        self,
        field: re.Pattern[str],
        texts: tuple[str, ...],
        given: Sequence[tuple[str, ...]],
        named: Mapping[str, tuple[str, ...]],
    ) -> tuple[str, ...]:
        found: list[str] = []
        for text in texts:
            for ways in islice(product(*(each or UNKNOWN for each in (*given, *named.values()))), WAYS):
                values = dict(zip([*map(str, range(len(given))), *named], ways, strict=True))
                count = iter(range(len(given)))

                def value(at: re.Match[str], values: Mapping[str, str] = values, count: Iterator[int] = count) -> str:
                    if at[0] in ("{{", "}}", "%%"):
                        return at[0][0]
                    return values.get(at[1] or str(next(count, "")), UNKNOWN[0])

                found.append(field.sub(value, text))
        return tuple(dict.fromkeys(found))[:WAYS]

    def _assigned(self, scope: ast.AST, names: Names) -> dict[str, tuple[str, ...]]:
        """Names of a scope that stand for texts, all that they are given there."""
        found: dict[str, tuple[str, ...]] = {}
        for node in _own(scope):
            match node:
                case (
                    ast.Assign(targets=[ast.Name(id=name)], value=value)
                    | ast.AnnAssign(target=ast.Name(id=name), value=value)
                ):
                    texts = self.fold(value, {**names, **found})
                case ast.For(target=ast.Name(id=name), iter=ast.List(elts=parts) | ast.Tuple(elts=parts)):
                    texts = tuple(text for part in parts for text in self.fold(part, {**names, **found}))
                case _:
                    continue
            found[name] = tuple(dict.fromkeys([*found.get(name, ()), *texts]))[:WAYS]
        return {name: texts for name, texts in found.items() if texts}

    def _grown(self, scope: ast.AST, names: Names) -> Iterator[tuple[str, int, tuple[str, ...]]]:
        """Texts that `+=` makes longer, whole, at the line where they begin."""
        begun: dict[str, tuple[tuple[str, ...], int]] = {}
        known = {**names, **self._assigned(scope, names)}
        longer: dict[str, list[tuple[str, ...]]] = {}
        for node in _own(scope):
            match node:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in begun:
                    begun[name] = self.fold(value, known), node.lineno
                case ast.AugAssign(target=ast.Name(id=name), op=ast.Add(), value=value) if begun.get(name, ((), 0))[0]:
                    longer.setdefault(name, []).append(self.fold(value, known) or UNKNOWN)
        for name, parts in longer.items():
            first, line = begun[name]
            yield from ((text, line, first) for text in _joined("", [first, *parts]))


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a scope in the order of the text, those of functions in it left out."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, _FUNCTIONS):
            yield from _own(child)


def _joined(glue: str, parts: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(glue.join(ways) for ways in islice(product(*parts), WAYS)))
