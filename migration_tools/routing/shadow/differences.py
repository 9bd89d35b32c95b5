"""The differences of two JSON values, by path and class; pure, and in time that grows with their size."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from difflib import SequenceMatcher
from enum import StrEnum
from typing import Any

from migration_tools.routing.shadow.patterns import key_name

# Lists are aligned by content in quadratic time; beyond this length they are compared place by place.
ALIGNED_LENGTH = 400
_NUMBER = re.compile(r"-?\d{1,40}(\.\d{1,40})?")
_ABSENT = object()


class DiffKind(StrEnum):
    """How the candidate's answer differs; written by the comparator, read by rules, reports and the ramp."""

    STATUS = "status"
    MISSING = "missing"
    EXTRA = "extra"
    CHANGED = "changed"
    TYPE_OR_PRECISION = "type_or_precision"
    ORDER = "order"
    WRITE = "write_attempted"
    FAILED = "failed"
    SLOW = "too_slow"

    @property
    def label(self) -> str:
        return str(self).replace("_", " ")

    @property
    def explanation(self) -> str:
        """One sentence for somebody who meets the class for the first time."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    DiffKind.STATUS: "The candidate answers with another status; no rule can hide that.",
    DiffKind.MISSING: "The owner's answer has this, the candidate's has not.",
    DiffKind.EXTRA: "The candidate's answer has this, the owner's has not.",
    DiffKind.CHANGED: "Both answers have this, with different values.",
    DiffKind.TYPE_OR_PRECISION: "The same number or time, written as another type or with another precision.",
    DiffKind.ORDER: "The same elements in another order.",
    DiffKind.WRITE: "A view tried to write while it answered a read; nothing was written.",
    DiffKind.FAILED: "The candidate gave no answer.",
    DiffKind.SLOW: "The candidate gave no answer in time.",
}
#: What no rule may ignore: the candidate's answer is none at all, or of another kind.
NEVER_IGNORED = frozenset({DiffKind.STATUS, DiffKind.WRITE, DiffKind.FAILED, DiffKind.SLOW})


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One place where two answers differ, with the values; only `plain` ones may be stored as they are."""

    path: str
    kind: DiffKind
    owner: Any = None
    candidate: Any = None
    plain: bool = False


def json_differences(
    owner: Any, candidate: Any, *, unordered: Collection[str] = (), path: str = "$"
) -> Iterator[Difference]:
    """Everything that differs; list places are `[*]`, so that paths can be counted.

    Lists whose path is in `unordered` are compared as bags.
    """
    if isinstance(owner, dict) and isinstance(candidate, dict):
        for key in {**owner, **candidate}:
            below = f"{path}.{key_name(key)}"
            pair = owner.get(key, _ABSENT), candidate.get(key, _ABSENT)
            yield from _member(*pair, below, unordered)
    elif isinstance(owner, list) and isinstance(candidate, list):
        yield from _lists(owner, candidate, path, unordered)
    elif (kind := _scalar_kind(owner, candidate)) is not None:
        yield Difference(path=path, kind=kind, owner=owner, candidate=candidate)


def _member(owner: Any, candidate: Any, path: str, unordered: Collection[str]) -> Iterator[Difference]:
    if candidate is _ABSENT:
        yield Difference(path=path, kind=DiffKind.MISSING, owner=owner)
    elif owner is _ABSENT:
        yield Difference(path=path, kind=DiffKind.EXTRA, candidate=candidate)
    else:
        yield from json_differences(owner, candidate, unordered=unordered, path=path)


def _lists(owner: list[Any], candidate: list[Any], path: str, unordered: Collection[str]) -> Iterator[Difference]:
    left, right = [_canonical(each) for each in owner], [_canonical(each) for each in candidate]
    if left == right:
        return
    if path in unordered:
        owner, left = _sorted_by(owner, left)
        candidate, right = _sorted_by(candidate, right)
    elif len(left) == len(right) and Counter(left) == Counter(right):
        yield Difference(path=path, kind=DiffKind.ORDER, owner=owner, candidate=candidate)
        return
    below = f"{path}[*]"
    for a, b, c, d in _stretches(left, right):
        for place in range(max(b - a, d - c)):
            mine = owner[a + place] if a + place < b else _ABSENT
            theirs = candidate[c + place] if c + place < d else _ABSENT
            yield from _member(mine, theirs, below, unordered)


def _stretches(left: list[str], right: list[str]) -> Iterator[tuple[int, int, int, int]]:
    """The stretches of two lists that are not the same, as half-open ranges of both."""
    if max(len(left), len(right)) > ALIGNED_LENGTH:
        yield 0, len(left), 0, len(right)
        return
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            yield a, b, c, d


def _sorted_by(values: list[Any], keys: list[str]) -> tuple[list[Any], list[str]]:
    order = sorted(range(len(values)), key=keys.__getitem__)
    return [values[n] for n in order], [keys[n] for n in order]


def _canonical(value: Any) -> str:
    """Equal for values that are equal to a reader: 1.50 is 1.5, though 1 is not 1.0 and true is not 1."""
    if isinstance(value, dict):
        return f"{{{','.join(f'{json.dumps(key)}:{_canonical(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_canonical, value))}]"
    return _canonical_number(value) if isinstance(value, Decimal) else json.dumps(value)


def _canonical_number(number: Decimal) -> str:
    # Not Decimal.normalize, which rounds to the context's 28 digits; the d keeps it apart from every JSON text.
    sign, digits, exponent = number.as_tuple()
    text = "".join(map(str, digits))
    short = text.rstrip("0")
    return f"d{'-' * sign}{short}e{int(exponent) + len(text) - len(short) if short else 0}"


def _scalar_kind(owner: Any, candidate: Any) -> DiffKind | None:
    if type(owner) is type(candidate) and owner == candidate:
        return None
    if isinstance(owner, dict | list) or isinstance(candidate, dict | list):
        return DiffKind.CHANGED
    mine, theirs = _number(owner), _number(candidate)
    if mine is not None and mine == theirs:
        return DiffKind.TYPE_OR_PRECISION
    if mine is not None and theirs is not None and _rounded(mine, theirs):
        return DiffKind.TYPE_OR_PRECISION
    at, then = _instant(owner), _instant(candidate)
    if at is not None and then is not None and at.replace(microsecond=0) == then.replace(microsecond=0):
        finer = at.microsecond and then.microsecond
        return DiffKind.CHANGED if finer and at != then else DiffKind.TYPE_OR_PRECISION
    return DiffKind.CHANGED


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | Decimal):
        return Decimal(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return Decimal(value)
    return None


def _rounded(mine: Decimal, theirs: Decimal) -> bool:
    """Whether one is the other with fewer decimals, and still has some."""
    places = [-int(number.as_tuple().exponent) for number in (mine, theirs)]
    coarse, fine = (mine, theirs) if places[0] < places[1] else (theirs, mine)
    if places[0] == places[1] or min(places) < 1:
        return False
    try:
        return bool(fine.quantize(coarse) == coarse)
    except InvalidOperation:
        return False


def _instant(value: Any) -> datetime | None:
    if not isinstance(value, str) or not 19 <= len(value) <= 40 or not value[:4].isdecimal():
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo is not None else None
