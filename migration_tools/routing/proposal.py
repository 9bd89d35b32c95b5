"""Propose a context's routes from the monolith's URLconf: the shortest prefixes that hold its views."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver

# What a prefix may be made of; a parameter, an optional part or a character class ends it.
_LITERAL = re.compile(r"[A-Za-z0-9._~/-]*")


@dataclass(frozen=True, kw_only=True)
class Address:
    """One entry of the URLconf: the literal beginning of its path, whether that is all, and its view."""

    prefix: str
    whole: bool
    view: str
    module: str


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A prefix, the context's views below it, and views of others that would move along."""

    path: str
    views: tuple[str, ...]
    strangers: tuple[str, ...]


def propose(packages: Iterable[str], resolver: URLResolver | None = None) -> list[Proposal]:
    """Prefixes of whole segments under which the views of these packages are, shortest first.

    A view below `/` or below a parameter has no prefix of its own and is proposed as `/`, which no route may take: its
    author must give it one first.
    """
    roots = tuple(packages)
    found = list(_addresses(resolver or get_resolver()))
    ours = [each for each in found if _belongs(each.module, roots)]
    paths: list[str] = []
    for path in sorted({_segments(each) for each in ours}, key=lambda text: (text.count("/"), text)):
        if not any(_below(path, known) for known in paths):
            paths.append(path)
    return [
        Proposal(
            path=path,
            views=tuple(sorted({each.view for each in ours if _below(_segments(each), path)})),
            strangers=tuple(
                sorted({e.view for e in found if _below(_segments(e), path) and not _belongs(e.module, roots)})
            ),
        )
        for path in paths
    ]


def _addresses(resolver: URLResolver, before: str = "/", literal: bool = True) -> Iterator[Address]:
    for entry in resolver.url_patterns:
        text = re.sub(r"^\^|\$$|\\Z$", "", str(entry.pattern))
        plain = _LITERAL.match(text)
        kept = plain.group() if plain is not None else ""
        prefix, whole = (f"{before}{kept}", literal and kept == text) if literal else (before, False)
        if isinstance(entry, URLResolver):
            yield from _addresses(entry, prefix, whole)
        elif isinstance(entry, URLPattern):
            view: Callable[..., Any] = entry.callback
            view = getattr(view, "view_class", getattr(view, "cls", view))
            name = getattr(view, "__qualname__", type(view).__qualname__)
            module = str(view.__module__)
            yield Address(prefix=prefix, whole=whole, view=f"{module}.{name}", module=module)


def _segments(address: Address) -> str:
    """The prefix up to its last whole segment."""
    path = address.prefix if address.whole else address.prefix[: address.prefix.rfind("/") + 1]
    return path.rstrip("/") or "/"


def _below(path: str, prefix: str) -> bool:
    return path == prefix or path.startswith(f"{prefix.rstrip('/')}/")


def _belongs(module: str, roots: tuple[str, ...]) -> bool:
    return any(module == root or module.startswith(f"{root}.") for root in roots)
