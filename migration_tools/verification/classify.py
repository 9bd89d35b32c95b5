"""What kind of difference two unequal rows show, column by column and, in JSON, path by path.

Values are PostgreSQL's text forms; None is NULL and equals NULL only, never ''. Equality goes by the type:

* `numeric` by value, whatever the scale: 1.50 = 1.5; NaN = NaN;
* `real` and `double precision` by value: -0 = 0; NaN = NaN;
* everything else by its text, which is canonical for what both sides render alike: jsonb, timestamps in UTC,
  integers, uuid, bytea.

The kind of two unequal rows is the first that holds of: missing, extra or orphan (one side has no row);
lost_update (the target's whole row equals an earlier state of the source's); precision_or_type (each unequal
column differs slightly, as `SLIGHT` says); changed.
"""

import datetime as dt
import json
import math
import re
import struct
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Context, Decimal
from typing import Any

from deepdiff import DeepDiff

from migration_tools.verification.report import Difference, DifferenceKind, FieldDifference

SLIGHT = """
numeric                    by less than one unit of the coarser of the two written scales (12.3 and 12.34)
real, double precision     by what single precision loses
timestamp, time            by less than a second
text, varchar, character   by trailing white space, by Unicode normalisation, or cut at the column's length
json, jsonb                in spelling only: scale of numbers, white space, order of keys
"""
"""When a column differs by precision or type and not by content; anything else, and NULL, is content."""

Row = tuple[str | None, ...]

PATHS_AT_MOST = 50
# deepdiff aligns lists by content, in quadratic time; beyond this size it compares them place by place.
ALIGNED_CHARACTERS = 20_000

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")
_FLOAT = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,4})?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LENGTH = re.compile(r"\(([0-9]+)\)$")
_SINGLE_PRECISION = 2.0**-23


@dataclass(frozen=True, kw_only=True)
class _Verdict:
    """How two unequal values differ; `slight` is what `SLIGHT` describes."""

    slight: bool = False
    note: str = ""
    paths: list[str] = field(default_factory=list)


def classify(
    table: str,
    key: tuple[str, ...],
    columns: Sequence[str],
    types: Mapping[str, str],
    source: Row | None,
    target: Row | None,
    *,
    earlier: Sequence[Row] = (),
    orphan: bool = False,
) -> Difference | None:
    """Class a pair of rows and drill to the fields that differ; None when they are equal.

    Args:
        columns: The columns of both rows, in the order of their values.
        types: Each column's type as `format_type` spells it; a column without one is compared as text.
        earlier: Older states of the source's row, from the stream, in any order.
        orphan: Whether the row that the target's row refers to is missing; tells extra rows apart only.
    """
    if source is None or target is None:
        kind = _one_sided(source, target, orphan=orphan)
        return None if kind is None else Difference(table=table, key=key, kind=kind)
    fields, slight = [], True
    for column, ours, theirs in zip(columns, source, target, strict=True):
        type_ = types.get(column, "")
        if same_value(ours, theirs, type_):
            continue
        verdict = _compare(ours, theirs, type_)
        slight = slight and verdict.slight
        fields.append(
            FieldDifference(
                column=column, source=ours, target=theirs, paths=verdict.paths, note=verdict.note, type=type_
            )
        )
    if not fields:
        return None
    if any(_same_row(target, state, columns, types) for state in earlier):
        kind = DifferenceKind.LOST_UPDATE
    else:
        kind = DifferenceKind.PRECISION_OR_TYPE if slight else DifferenceKind.CHANGED
    return Difference(table=table, key=key, kind=kind, fields=fields)


def same_value(ours: str | None, theirs: str | None, type_: str = "") -> bool:
    """Whether two values of a column are equal by the rules above."""
    if ours == theirs:
        return True
    if ours is None or theirs is None:
        return False
    match _family(type_):
        case "numeric" if _NUMBER.fullmatch(ours) and _NUMBER.fullmatch(theirs):
            return Decimal(ours) == Decimal(theirs)
        case "float" if _FLOAT.fullmatch(ours) and _FLOAT.fullmatch(theirs):
            return _as_float(ours, type_) == _as_float(theirs, type_)
    return False


def _one_sided(source: Row | None, target: Row | None, *, orphan: bool) -> DifferenceKind | None:
    if source is None and target is None:
        return None
    if target is None:
        return DifferenceKind.MISSING
    return DifferenceKind.ORPHAN if orphan else DifferenceKind.EXTRA


def _same_row(ours: Row, theirs: Row, columns: Sequence[str], types: Mapping[str, str]) -> bool:
    return len(ours) == len(theirs) and all(
        same_value(one, other, types.get(column, "")) for column, one, other in zip(columns, ours, theirs, strict=True)
    )


def _family(type_: str) -> str:
    """The group of types that are compared alike; '' for those compared by text alone."""
    if type_.endswith("[]"):
        return ""
    name = type_.partition("(")[0].strip()
    match name:
        case "numeric" | "json" | "jsonb":
            return name.removesuffix("b")
        case "real" | "double precision":
            return "float"
        case "text" | "character varying" | "varchar" | "character" | "bpchar" | "char" | "citext":
            return "text"
        case "smallint" | "integer" | "bigint":
            return "integer"
    if name.startswith("timestamp"):
        return "timestamp"
    return "time" if name == "time" or name.startswith("time ") else ""


def _compare(ours: str | None, theirs: str | None, type_: str) -> _Verdict:
    """Judge two unequal values."""
    if ours is None or theirs is None:
        other = ours if theirs is None else theirs
        return _Verdict(note="NULL is not ''" if other == "" else "NULL on one side only")
    judge = _JUDGES.get(_family(type_))
    return _Verdict() if judge is None else judge(ours, theirs, type_)


def _judge_numeric(ours: str, theirs: str, type_: str) -> _Verdict:
    if not (_NUMBER.fullmatch(ours) and _NUMBER.fullmatch(theirs)):
        return _Verdict()
    exact = Context(prec=len(ours) + len(theirs))
    apart = exact.abs(exact.subtract(Decimal(ours), Decimal(theirs)))
    coarser = min(len(value.partition(".")[2]) for value in (ours, theirs))
    return _Verdict(slight=apart < Decimal((0, (1,), -coarser)), note=f"apart by {apart:f}")


def _judge_float(ours: str, theirs: str, type_: str) -> _Verdict:
    if not (_FLOAT.fullmatch(ours) and _FLOAT.fullmatch(theirs)):
        return _Verdict()
    one, other = float(ours), float(theirs)
    if math.isclose(one, other, rel_tol=_SINGLE_PRECISION):
        return _Verdict(slight=True, note="equal in single precision")
    return _Verdict(note=f"apart by {abs(one - other):g}")


def _judge_integer(ours: str, theirs: str, type_: str) -> _Verdict:
    return _Verdict(note=_judge_numeric(ours, theirs, type_).note)


def _judge_timestamp(ours: str, theirs: str, type_: str) -> _Verdict:
    try:
        apart = abs(dt.datetime.fromisoformat(ours) - dt.datetime.fromisoformat(theirs))
    except (ValueError, TypeError, OverflowError):
        return _Verdict()
    return _judge_interval(apart)


def _judge_time(ours: str, theirs: str, type_: str) -> _Verdict:
    return _judge_timestamp(f"2000-01-01 {ours}", f"2000-01-01 {theirs}", type_)


def _judge_interval(apart: dt.timedelta) -> _Verdict:
    if apart < dt.timedelta(seconds=1):
        return _Verdict(slight=True, note=f"apart by {apart.microseconds:,} µs")
    hours, rest = divmod(apart, dt.timedelta(hours=1))
    zone = "; a time zone lost?" if hours <= 14 and not rest else ""
    return _Verdict(note=f"apart by {apart}{zone}")


def _judge_text(ours: str, theirs: str, type_: str) -> _Verdict:
    if ours.rstrip() == theirs.rstrip():
        return _Verdict(slight=True, note="trailing white space only")
    if unicodedata.normalize("NFC", ours) == unicodedata.normalize("NFC", theirs):
        return _Verdict(slight=True, note="Unicode normalisation only")
    shorter, longer = sorted((ours, theirs), key=len)
    declared = _LENGTH.search(type_)
    if declared and len(shorter) == int(declared[1]) and longer.startswith(shorter):
        return _Verdict(slight=True, note=f"cut at the column's {len(shorter)} characters")
    if ours.casefold() == theirs.casefold():
        return _Verdict(note="letter case only")
    same = next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(shorter))
    return _Verdict(note=f"from character {same + 1} on" if same else "")


def _judge_json(ours: str, theirs: str, type_: str) -> _Verdict:
    try:
        one, other = _parse(ours), _parse(theirs)
        found = _json_paths(one, other, aligned=len(ours) + len(theirs) < ALIGNED_CHARACTERS)
    except RecursionError:
        return _Verdict(note="nested too deeply to be drilled into")
    except ValueError:
        return _Verdict(note="not JSON")
    if found:
        more = len(found) - PATHS_AT_MOST
        return _Verdict(paths=found[:PATHS_AT_MOST], note=f"and {more} more paths" if more > 0 else "")
    return _Verdict(slight=True, note="the same JSON value, spelled otherwise")


_JUDGES: dict[str, Callable[[str, str, str], _Verdict]] = {
    "numeric": _judge_numeric,
    "float": _judge_float,
    "integer": _judge_integer,
    "timestamp": _judge_timestamp,
    "time": _judge_time,
    "text": _judge_text,
    "json": _judge_json,
}


def _parse(text: str) -> Any:
    """Parse JSON with exact numbers; int() would refuse those of more than 4,300 digits."""
    return _apart(json.loads(text, parse_float=Decimal, parse_int=Decimal))


def _apart(value: Any) -> Any:
    """Keep booleans apart from numbers: in Python True == 1, and deepdiff takes [true] and [1] for equal.

    JSON in PostgreSQL holds no NUL, so no string of it looks like the stand-in.
    """
    match value:
        case bool():
            return f"\0{value}"
        case dict():
            return {name: _apart(inner) for name, inner in value.items()}
        case list():
            return [_apart(inner) for inner in value]
        case _:
            return value


def _json_paths(ours: Any, theirs: Any, *, aligned: bool) -> list[str]:
    """Where two JSON values differ, as JSON paths."""
    # By default deepdiff skips keys that begin with two underscores, and names only the parent of dicts that
    # have few keys in common.
    found = DeepDiff(
        ours,
        theirs,
        view="tree",
        ignore_private_variables=False,
        threshold_to_diff_deeper=0,
        zip_ordered_iterables=not aligned,
    )
    paths = {
        _path(level.path(output_format="list")): None
        for levels in found.values()
        for level in levels  # one entry per place
    }
    return sorted(paths)


def _path(places: list[str | int]) -> str:
    """Spell a path as in PostgreSQL's jsonpath: $.name[0]["any name"]."""
    text = "$"
    for place in places:
        if isinstance(place, int):
            text += f"[{place}]"
        else:
            text += f".{place}" if _NAME.fullmatch(place) else f"[{json.dumps(place, ensure_ascii=False)}]"
    return text


def _as_float(text: str, type_: str) -> float:
    value = float(text)
    if type_ == "real" and abs(value) < 3.4e38:
        value = struct.unpack("f", struct.pack("f", value))[0]
    return value
