"""Find calls of other servers in a step's code without running it: what its functions name, and theirs in turn."""

import types
from collections.abc import Callable, Iterator
from typing import Any

CLIENTS = frozenset(
    {"aiohttp", "http", "httpcore", "httpx", "httpx2", "requests", "socket", "urllib", "urllib3", "websockets", "grpc"}
)
#: Packages of the standard library of which one part calls servers.
PARTS = {"urllib": "request", "http": "client"}
DEPTH = 6


def names_of_clients(function: Callable[..., Any]) -> list[str]:
    """The clients that the function, or a function of the same package that it names, uses: "module in function"."""
    return sorted(set(_search(function, set(), DEPTH)))


def _search(function: Any, seen: set[Any], depth: int) -> Iterator[str]:
    code = getattr(function, "__code__", None)
    if code is None or code in seen or depth == 0:
        return
    seen.add(code)
    package = str(function.__module__).partition(".")[0]
    names = set(_names(code))
    for name in names:
        value = function.__globals__.get(name)
        where = _module(value)
        client = _client(where, names)
        if client:
            yield f"{client} in {function.__qualname__}"
        elif isinstance(value, types.FunctionType) and where.partition(".")[0] == package:
            yield from _search(value, seen, depth - 1)
    for name in _imported(code):
        if client := _client(name, names):
            yield f"{client} in {function.__qualname__}"


def _client(module: str, names: set[str]) -> str:
    """The client that a module is; a package of the standard library counts by the part that is named beside it."""
    if module in PARTS:
        part = PARTS[module]
        return f"{module}.{part}" if part in names else ""
    top = module.partition(".")[0]
    if top in PARTS:
        return module if module.startswith(f"{top}.{PARTS[top]}") else ""
    return module if top in CLIENTS else ""


def _names(code: types.CodeType) -> Iterator[str]:
    """Global names that the code, or a function defined inside it, uses."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _imported(code: types.CodeType) -> Iterator[str]:
    """Modules that the code imports when it runs."""
    import dis

    for instruction in dis.get_instructions(code):
        if instruction.opname == "IMPORT_NAME":
            yield str(instruction.argval)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _imported(constant)


def _module(value: Any) -> str:
    if isinstance(value, types.ModuleType):
        return value.__name__
    return str(getattr(value, "__module__", "") or "")
