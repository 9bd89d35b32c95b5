"""Compare the candidate's answer with two of the owner's: where the owner differs from itself is noise; pure."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import islice
from typing import Any, Literal

from migration_tools.routing.shadow.differences import Difference, DiffKind, json_differences
from migration_tools.routing.shadow.patterns import route_pattern

DIFFERENCES_MOST = 200


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a side answered; `failure` says that it gave none, `wrote` what its view tried to write."""

    status: int = 0
    content_type: str = ""
    location: str = ""
    body: bytes = b""
    truncated: bool = False
    guarded: bool = False
    wrote: str = ""
    failure: Literal["", "failed", "too_slow"] = ""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What three answers say; one with a `skip` was not compared, and says why."""

    differences: tuple[Difference, ...] = ()
    noise: tuple[Difference, ...] = ()
    skip: str = ""


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """An answer as it is compared: its headers, and its body read once."""

    answer: Answer
    media: str
    document: Any = field(default=None)
    is_json: bool = False


def compare(owner: Answer, candidate: Answer, again: Answer, *, unordered: Collection[str] = ()) -> Verdict:
    """Three answers to one request: the owner's, the candidate's, and the owner's once more, in this order."""
    for answer in (owner, again):
        if reason := _not_comparable(answer):
            wrote = (_wrote("owner", answer),) if answer.wrote else ()
            return Verdict(skip=reason, differences=wrote)
    if owner.status != again.status:
        return Verdict(skip="the owner is not of one mind about the status")
    if candidate.failure:
        return Verdict(differences=(Difference(path="answer", kind=DiffKind(candidate.failure)),))
    if not candidate.guarded:
        return Verdict(skip="the candidate is not guarded")
    if candidate.wrote:
        return Verdict(differences=(_wrote("candidate", candidate),))
    seen = [_read(answer) for answer in (owner, candidate, again)]
    noise = _differences(seen[0], seen[2], unordered)
    return Verdict(
        differences=tuple(each for each in _differences(seen[0], seen[1], unordered) if not _within(each, noise)),
        noise=tuple(noise),
    )


def _not_comparable(owner: Answer) -> str:
    if owner.failure:
        return "the owner gave no answer"
    if not owner.guarded:
        return "the owner is not guarded"
    if owner.wrote:
        return "the owner writes while it reads"
    return "the answer is too large" if owner.truncated else ""


def _wrote(path: str, answer: Answer) -> Difference:
    return Difference(path=path, kind=DiffKind.WRITE, owner=answer.wrote, candidate=answer.wrote, plain=True)


def _read(answer: Answer) -> _Seen:
    media = answer.content_type.partition(";")[0].strip().lower()
    if (media == "application/json" or media.endswith("+json")) and not answer.truncated:
        try:
            document = json.loads(answer.body, parse_float=Decimal)
            return _Seen(answer=answer, media=media, document=document, is_json=True)
        except (ValueError, RecursionError):
            pass
    return _Seen(answer=answer, media=media)


def _differences(owner: _Seen, other: _Seen, unordered: Collection[str]) -> Sequence[Difference]:
    mine, theirs = owner.answer, other.answer
    if mine.status != theirs.status:
        return [Difference(path="status", kind=DiffKind.STATUS, owner=mine.status, candidate=theirs.status, plain=True)]
    found = [
        Difference(path=path, kind=DiffKind.CHANGED, owner=a, candidate=b, plain=True)
        for path, a, b in (
            ("header content-type", owner.media, other.media),
            ("header location", _where(mine.location), _where(theirs.location)),
        )
        if a != b
    ]
    if mine.body == theirs.body:
        return found
    if owner.is_json and other.is_json:
        try:
            found += islice(json_differences(owner.document, other.document, unordered=unordered), DIFFERENCES_MOST)
            return found
        except RecursionError:
            pass
    sizes = [f"{len(answer.body)} bytes" for answer in (mine, theirs)]
    found.append(Difference(path="body", kind=DiffKind.CHANGED, owner=sizes[0], candidate=sizes[1], plain=True))
    return found


def _within(found: Difference, noise: Sequence[Difference]) -> bool:
    """Whether the owner differs from itself here, or at something that holds this place."""
    return any(found.path == each.path or found.path.startswith((f"{each.path}.", f"{each.path}[")) for each in noise)


def _where(location: str) -> str:
    return route_pattern(location) if location else ""
