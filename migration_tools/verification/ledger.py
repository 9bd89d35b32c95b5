"""Keeps the ranges of a verification under way in the database, so that a run that was cut off is resumed."""

import datetime as dt
from dataclasses import dataclass
from typing import Self

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from migration_tools.state.models import Verification, VerificationRun, VerifiedRange
from migration_tools.verification.report import VerificationReport, result_from_json, result_to_json
from migration_tools.verification.walk import RangeResult

RESUMABLE_FOR = dt.timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class DatabaseLedger:
    """The Ledger of one run; `resumed` says how many ranges it held when it was opened."""

    using: str
    run: VerificationRun
    resumed: int

    @classmethod
    def open(
        cls,
        using: str,
        *,
        context: str,
        direction: str,
        declaration: str,
        changed_at: dt.datetime | None,
        restart: bool = False,
    ) -> Self:
        """Take up the context's run, or begin one.

        Ranges are worth nothing any more when rows were copied, repaired or handed over after the run began
        (`changed_at`), when the playbook or the direction is another, or after a day: then a new run begins.
        """
        with transaction.atomic(using=using):
            run = VerificationRun.objects.using(using).select_for_update().filter(context=context).first()
            stale = run is not None and (
                restart
                or (run.direction, run.declaration) != (direction, declaration)
                or (changed_at is not None and run.began_at <= changed_at)
                or timezone.now() - run.began_at > RESUMABLE_FOR
            )
            if run is not None and stale:
                run.delete()
                run = None
            if run is None:
                run = VerificationRun.objects.using(using).create(
                    context=context, direction=direction, declaration=declaration
                )
        resumed = VerifiedRange.objects.using(using).filter(run=run).count()
        return cls(using=using, run=run, resumed=resumed)

    def done(self, way: str, table: str) -> list[RangeResult]:
        """The ranges of a table, in order."""
        return [
            RangeResult(
                way=way,
                table=table,
                upto=tuple(each.upto) if each.upto is not None else None,
                position=each.position,
                result=result_from_json(each.result),
            )
            for each in self._ranges(way, table).order_by("number")
        ]

    def record(self, found: RangeResult) -> None:
        """Remember one more; committed when it returns."""
        VerifiedRange.objects.using(self.using).create(
            run=self.run,
            way=found.way,
            table=found.table,
            number=self._ranges(found.way, found.table).count(),
            upto=list(found.upto) if found.upto is not None else None,
            position=found.position,
            result=result_to_json(found.result),
        )

    def complete(self, report: VerificationReport) -> Verification:
        """Keep the (redacted) report as evidence; the run is over."""
        with transaction.atomic(using=self.using):
            self.run.delete()
            return Verification.objects.using(self.using).create(
                context=report.context,
                direction=report.direction,
                rows=report.rows,
                differences=report.differences,
                report={**report.to_json(), "declaration": self.run.declaration},
            )

    def _ranges(self, way: str, table: str) -> QuerySet[VerifiedRange]:
        return VerifiedRange.objects.using(self.using).filter(run=self.run, way=way, table=table)
