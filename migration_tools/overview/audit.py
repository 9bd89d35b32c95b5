"""The audit of a context: its journal replayed against the rules of the road, from the monolith's tables alone."""

from collections.abc import Iterator, Sequence

from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.messaging.models import DeadLetter, DeadLetterLog
from migration_tools.overview.hand_overs import moment
from migration_tools.phases.surroundings import REMOVE
from migration_tools.reports.audit import AuditReport, Check, Deed
from migration_tools.state.journal import read_context
from migration_tools.state.models import Context, JournalEntry, Verification
from migration_tools.state.phase import BACKWARD, FORWARD, Phase

DEEDS_AT_MOST = 1000
ENDED = {"completed", "handed_over", "rolled_back"}
#: What changes rows otherwise than by the sync; an equal verification must come after it.
CHANGES = {"copied", "repaired", "cleared"}
STAND_ON_IT = {Phase.VERIFY, Phase.SWITCH_READS, Phase.CUTOVER, Phase.DECOMMISSION}


def read_audit(context: str) -> AuditReport:
    """Replay the journal; reads only, and only this side."""
    alias = settings().DATABASE
    row = read_context(context)
    entries = list(JournalEntry.objects.using(alias).filter(context=context).order_by("id"))
    verified = list(Verification.objects.using(alias).filter(context=context).order_by("id"))
    return AuditReport(
        context=context,
        at=moment(timezone.now()),
        phase=row.phase,
        checks=[
            _walked(row, entries),
            _ended(row, entries),
            _verified_before(entries, verified),
            _verified_since(Phase(row.phase), entries, verified),
            _unbroken(entries),
            *_letters(context),
            _kept_hidden(entries),
        ],
        deeds=[_deed(each) for each in entries[-DEEDS_AT_MOST:]],
        omitted=max(len(entries) - DEEDS_AT_MOST, 0),
    )


def _walked(row: Context, entries: Sequence[JournalEntry]) -> Check:
    says = "each phase was entered from its neighbour, and the last one is where the context stands"
    phase, wrong = Phase.MONOLITH_ONLY, []
    moves = list(_moves(entries))
    for entry, undone, named in moves:
        if named is phase and not undone:
            continue  # its end was journalled, and the process died before the phase was written
        to = _undone_to(phase, named) if undone else named
        if to is None or (not undone and FORWARD.get(phase) is not to):
            wrong.append(f"entry {entry.pk}: {entry.move!r} {entry.step} while the context was in {phase.value!r}")
        phase = to or phase
    if phase.value != row.phase:
        wrong.append(f"by the journal the context is in {phase.value!r}, by its row in {row.phase!r}")
    return Check(id="road", says=says, wrong=wrong, idle="" if moves else "no move has ended yet")


def _moves(entries: Sequence[JournalEntry]) -> Iterator[tuple[JournalEntry, bool, Phase]]:
    """Moves that ended: the entry, whether it went back, and the phase that it names."""
    for entry in entries:
        kind, _, name = entry.move.partition(" ")
        if entry.step in ENDED and kind in {"to", "undo"} and name in {each.value for each in Phase}:
            yield entry, kind == "undo", Phase(name)


def _undone_to(phase: Phase, undone: Phase) -> Phase | None:
    """Where undoing leads: to the phase before, or nowhere else when the move itself was never completed."""
    if undone is phase:
        return BACKWARD.get(phase)
    return phase if FORWARD.get(phase) is undone else None


def _ended(row: Context, entries: Sequence[JournalEntry]) -> Check:
    wrong = []
    if row.move:
        undo = "" if row.move == REMOVE else f", or strangle_rollback {row.name}"
        wrong.append(f"{row.move!r} was begun and has not ended; run its command again{undo}")
    return Check(
        id="ended", says="every move that was begun has ended", wrong=wrong, idle="" if entries else "nothing was begun"
    )


def _verified_before(entries: Sequence[JournalEntry], verified: Sequence[Verification]) -> Check:
    says = "before reads and writes moved, the last verification was equal"
    wrong, asked = [], False
    for entry in entries:
        if entry.move not in {"to switch_reads", "to cutover"} or entry.step != "started":
            continue
        asked = True
        before = [each for each in verified if each.at < entry.at]
        if not before:
            wrong.append(f"entry {entry.pk}: {entry.move!r} was begun without any verification")
        elif before[-1].differences:
            wrong.append(
                f"entry {entry.pk}: {entry.move!r} was begun after verification {before[-1].pk}, "
                f"which found {before[-1].differences} differences"
            )
    return Check(id="verified_before", says=says, wrong=wrong, idle="" if asked else "neither has moved yet")


def _verified_since(phase: Phase, entries: Sequence[JournalEntry], verified: Sequence[Verification]) -> Check:
    says = "the last verification is equal, and of after the last copy or repair"
    if phase not in STAND_ON_IT or not verified:
        return Check(id="verified_since", says=says, idle=f"phase {phase.value!r} does not stand on it")
    wrong, last = [], verified[-1]
    if last.differences:
        wrong.append(f"verification {last.pk} found {last.differences} differences; strangle_repair mends them")
    changed = [each for each in entries if each.step in CHANGES and each.at > last.at]
    if changed:
        wrong.append(f"rows were {changed[-1].step} after verification {last.pk} (entry {changed[-1].pk})")
    return Check(id="verified_since", says=says, wrong=wrong)


def _unbroken(entries: Sequence[JournalEntry]) -> Check:
    """A move may break off; then it must have been taken up again and ended."""
    broken: dict[str, JournalEntry] = {}
    seen = False
    for entry in entries:
        seen = True
        if entry.step == "broken":
            broken[entry.move] = entry
        elif entry.step in ENDED:
            # Undoing a move ends it as well as completing it does.
            broken.pop(entry.move, None)
            broken.pop(entry.move.replace("undo ", "to ", 1), None)
    wrong = [f"entry {each.pk}: {each.move!r} broke off and was never completed" for each in broken.values()]
    says = "what broke off was completed or undone later"
    return Check(id="unbroken", says=says, wrong=wrong, idle="" if seen else "nothing was begun")


def _letters(context: str) -> Iterator[Check]:
    alias = settings().DATABASE
    parked = DeadLetter.objects.using(alias).filter(stream=context).count()
    yield Check(
        id="parked",
        says="no event is parked in the monolith",
        wrong=[f"{parked} are; strangle_dead_letters list {context}"] if parked else [],
    )
    given_up = DeadLetterLog.objects.using(alias).filter(stream=context, reason="", outcome="skipped")
    wrong = [f"event {each.event_id} was {each.outcome} by {each.actor} without one" for each in given_up[:20]]
    yield Check(id="reasons", says="every event that was given up has a reason", wrong=wrong)


def _kept_hidden(entries: Sequence[JournalEntry]) -> Check:
    """Revealing is allowed, but not without saying why."""
    wrong = [
        f"entry {each.pk}: {each.actor} revealed values without a reason"
        for each in entries
        if each.step == "revealed" and not each.reason.strip()
    ]
    return Check(id="revealed", says="who had values shown said why", wrong=wrong)


def _deed(entry: JournalEntry) -> Deed:
    said = entry.evidence if isinstance(entry.evidence, dict) else {}
    return Deed(
        entry=entry.pk,
        at=moment(entry.at),
        move=entry.move,
        step=entry.step,
        actor=entry.actor,
        reason=entry.reason,
        figures={
            name: float(value)
            for name, value in said.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        },
        error=str(said.get("error", "")),
    )
