"""What an operator at another terminal wants of a running copy, kept in the database: go on, pause or cancel."""

from dataclasses import dataclass
from enum import StrEnum

from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.state.journal import actor
from migration_tools.state.models import BackfillControl


class Wish(StrEnum):
    """Written by `strangle_backfill --pause | --resume | --cancel`, read by the throttle before every chunk."""

    RUN = "run"
    PAUSE = "pause"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True)
class Control:
    """What is wished, by whom and why; `holding` is why the copy waits now, '' while it does not."""

    wish: Wish
    reason: str
    actor: str
    holding: str

    def __str__(self) -> str:
        return f"by {self.actor}" + (f": {self.reason}" if self.reason else "")


def ask(context: str, wish: Wish, reason: str) -> None:
    """Let the context's copy, running or not begun, know what is wished; it heeds that before its next chunk."""
    BackfillControl.objects.using(settings().DATABASE).update_or_create(
        context=context, defaults={"wish": wish.value, "reason": reason, "actor": actor(), "at": timezone.now()}
    )


def read_control(context: str) -> Control:
    """What is wished now."""
    row = BackfillControl.objects.using(settings().DATABASE).filter(context=context).first()
    if row is None:
        return Control(wish=Wish.RUN, reason="", actor="", holding="")
    return Control(wish=Wish(row.wish), reason=row.reason, actor=row.actor, holding=row.holding)


def begin(context: str) -> None:
    """A copy begins: a cancellation was of an earlier one and is over, a pause stays."""
    rows = BackfillControl.objects.using(settings().DATABASE)
    rows.get_or_create(context=context, defaults={"actor": actor()})
    rows.filter(context=context, wish=Wish.CANCEL.value).update(wish=Wish.RUN.value, reason="", actor=actor())
    tell(context, "")


def tell(context: str, holding: str) -> None:
    """Let others see why the copy waits; '' when it goes on."""
    BackfillControl.objects.using(settings().DATABASE).filter(context=context).update(holding=holding)
