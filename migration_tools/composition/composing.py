"""Put an answer together: each part as soon as what it needs is there, within the deadline, partial where allowed."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from migration_tools.composition import budget as budgets
from migration_tools.composition import loop, stale
from migration_tools.composition.budget import Budget
from migration_tools.composition.calls import Asker, Calls
from migration_tools.composition.declaration import Composition, Part, placeholders
from migration_tools.composition.fields import Fields, select
from migration_tools.composition.problems import NotThere, PartFailed, SourceError, document
from migration_tools.composition.report import BudgetReport, Outcome, PartReport
from migration_tools.errors import CompositionError

GRACE_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Composed:
    """An answer: `values` by part, `errors` (problem documents) of parts that failed, `stale` ages in seconds."""

    values: Mapping[str, Any]
    errors: tuple[dict[str, Any], ...]
    stale: Mapping[str, float]
    report: BudgetReport

    @property
    def complete(self) -> bool:
        """Whether every part asked for is fresh."""
        return not self.errors

    def document(self) -> dict[str, Any]:
        """The values, with `_errors` and `_stale` where there is something to say."""
        said = dict(self.values)
        if self.errors:
            said["_errors"] = list(self.errors)
        if self.stale:
            said["_stale"] = dict(self.stale)
        return said


def compose(
    composition: Composition,
    values: Mapping[str, Any],
    *,
    caller: str,
    fields: Fields | None = None,
    headers: Mapping[str, str] | None = None,
    budget: Budget | None = None,
) -> Composed:
    """Compose for a sync view; the calls run on the process's loop.

    Args:
        composition: what is to be had.
        values: what its placeholders and functions use.
        caller: whose answer it is; kept answers are never given to somebody else. "" if it is the same for all.
        fields: which parts; all without it.
        headers: what every call carries, for instance the caller's identity.
        budget: the request's, if it is not the one of BudgetMiddleware.

    Raises:
        PartFailed: a required part could not be had.
        CallBudgetSpent: more calls than declared.
    """
    run = _Run(composition, values, caller, fields, headers, budget or budgets.current())
    try:
        loop.submit(run.everything()).result()
    finally:
        run.remember()
    return run.composed()


async def compose_async(
    composition: Composition,
    values: Mapping[str, Any],
    *,
    caller: str,
    fields: Fields | None = None,
    headers: Mapping[str, str] | None = None,
    budget: Budget | None = None,
) -> Composed:
    """The same for an async view."""
    run = _Run(composition, values, caller, fields, headers, budget or budgets.current())
    try:
        await asyncio.wrap_future(loop.submit(run.everything()))
    finally:
        await asyncio.to_thread(run.remember)
    return run.composed()


@dataclass(kw_only=True)
class _Had:
    """What is known of one part."""

    outcome: Outcome
    value: Any
    started: float
    ended: float
    age_seconds: float | None = None
    error: SourceError | None = None

    @property
    def usable(self) -> bool:
        """Whether parts that need it can be had."""
        return self.outcome in (Outcome.FRESH, Outcome.STALE)


@dataclass
class _Run:
    composition: Composition
    values: Mapping[str, Any]
    caller: str
    fields: Fields | None
    headers: Mapping[str, str] | None
    given: Budget
    had: dict[str, _Had] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wanted: Fields = self.fields if self.fields is not None else dict.fromkeys(self.composition.parts)
        self.parts = self.composition.needed_for(self.wanted)
        missing = sorted({name for part in self.parts for name in placeholders(part)} - set(self.values))
        if missing:
            raise CompositionError(f"{self.composition.name!r} needs values {missing}; give them to compose()")
        self.began = time.monotonic()
        self.budget = self.given.within(self.composition.deadline_seconds)
        self.calls = Calls(
            composition=self.composition.name, at_most=self.composition.calls_at_most, headers=self.headers or {}
        )

    async def everything(self) -> None:
        """Run all parts; the first required one that fails ends the others."""
        tasks: dict[str, asyncio.Task[None]] = {}
        try:
            async with asyncio.TaskGroup() as group:
                for part in self.parts:
                    tasks[part.name] = group.create_task(self._part(part, tasks))
        except* CompositionError as failures:
            raise failures.exceptions[0] from None

    async def _part(self, part: Part, tasks: Mapping[str, asyncio.Task[None]]) -> None:
        if part.after:
            await asyncio.wait([tasks[name] for name in part.after])
        started = time.monotonic()
        self.had[part.name] = had = await self._have(part, started)
        had.ended = time.monotonic()
        if part.required and had.error is not None and not had.usable:
            raise PartFailed(self.composition.name, part.name, had.error)

    async def _have(self, part: Part, started: float) -> _Had:
        for name in part.after:
            before = self.had[name]
            if not before.usable:
                return _Had(
                    outcome=Outcome.SKIPPED, value=part.fallback, started=started, ended=started, error=before.error
                )
        try:
            value = await self._ask(part)
        except NotThere as error:
            return _Had(outcome=Outcome.ABSENT, value=part.fallback, started=started, ended=started, error=error)
        except SourceError as error:
            return await self._instead(part, error, started)
        return _Had(outcome=Outcome.FRESH, value=value, started=started, ended=started)

    async def _instead(self, part: Part, error: SourceError, started: float) -> _Had:
        kept = await stale.kept(self._key(part)) if part.stale_seconds else None
        if kept is None:
            return _Had(outcome=Outcome.FALLBACK, value=part.fallback, started=started, ended=started, error=error)
        return _Had(
            outcome=Outcome.STALE, value=kept.value, started=started, ended=started, error=error,
            age_seconds=kept.age_seconds,
        )  # fmt: skip

    async def _ask(self, part: Part) -> Any:
        budget = self.budget if part.timeout_seconds is None else self.budget.within(part.timeout_seconds)
        asker = Asker(self.calls, budget, part.attempts)
        known = {**self.values, **{name: self.had[name].value for name in part.after}}
        try:
            # Each call has its own end at the budget's; this one is for what a part's function does between them.
            async with asyncio.timeout(budget.left + GRACE_SECONDS):
                if part.fetch is not None:
                    value = await part.fetch(asker, known)
                elif part.ids is not None:
                    value = await asker.load(part.source, part.path.format_map(self.values), part.ids(known), part.by)
                else:
                    params = {name: text.format_map(self.values) for name, text in part.params.items()}
                    value = await asker.get(part.source, part.path.format_map(_quoted(self.values)), params)
        except TimeoutError:
            raise _late(part) from None
        return part.shape(value) if part.shape is not None else value

    def _key(self, part: Part) -> str:
        return stale.key_of(self.composition.name, part, self.values, self.caller)

    def remember(self) -> None:
        """Keep fresh answers for the day their source fails, and drop those that a source disowned."""
        for part in self.parts:
            if not part.stale_seconds or part.name not in self.had:
                continue
            had = self.had[part.name]
            if had.outcome is Outcome.FRESH:
                stale.keep(self._key(part), had.value, part.stale_seconds)
            elif had.outcome is Outcome.ABSENT:
                stale.forget(self._key(part))

    def composed(self) -> Composed:
        """The answer."""
        shown = [part for part in self.parts if part.name in self.wanted]
        return Composed(
            values={part.name: select(self.had[part.name].value, self.wanted[part.name]) for part in shown},
            errors=tuple(_errors(shown, self.had)),
            stale={part.name: round(age, 3) for part in shown if (age := self.had[part.name].age_seconds) is not None},
            report=self._report(),
        )

    def _report(self) -> BudgetReport:
        def since(moment: float) -> float:
            return (moment - self.began) * 1000

        return BudgetReport(
            composition=self.composition.name,
            deadline_ms=since(self.budget.ends),
            total_ms=since(max((had.ended for had in self.had.values()), default=self.began)),
            depth=self.budget.depth,
            calls=dict(self.calls.made),
            parts=tuple(
                PartReport(
                    name=part.name, source=part.source, after=part.after, outcome=self.had[part.name].outcome,
                    started_ms=since(self.had[part.name].started), ended_ms=since(self.had[part.name].ended),
                )
                for part in self.parts
            ),
        )  # fmt: skip


def _errors(parts: Sequence[Part], had: Mapping[str, _Had]) -> Iterator[dict[str, Any]]:
    """What the answer must say is wrong: that there is nothing is not wrong."""
    for part in parts:
        outcome, error = had[part.name].outcome, had[part.name].error
        if error is None or outcome is Outcome.ABSENT or (outcome is Outcome.SKIPPED and isinstance(error, NotThere)):
            continue
        yield document(error.status, str(error), part=part.name, source=error.source, outcome=outcome.value)


def _late(part: Part) -> SourceError:
    return SourceError(part.source, "did not answer in time", status=HTTPStatus.GATEWAY_TIMEOUT)


def _quoted(values: Mapping[str, Any]) -> dict[str, str]:
    """Values as they may stand in a path: a slash in an id would be another address."""
    return {name: quote(str(value), safe="") for name, value in values.items()}
