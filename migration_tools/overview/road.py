"""The seven phases of a context as stations: behind it, where it stands, the gates of the next, and what is left."""

from typing import Any

from migration_tools.errors import StrangleError
from migration_tools.phases.archive import incoming_references, old_tables
from migration_tools.phases.dry_run import DryRunExecutor
from migration_tools.phases.machine import COMMANDS, MOVES
from migration_tools.phases.surroundings import Surroundings
from migration_tools.state.kept import is_kept
from migration_tools.state.phase import FORWARD, ORDER, Phase

PURPOSES = {
    Phase.MONOLITH_ONLY: "The monolith writes and reads.",
    Phase.DUAL_WRITE: "Every write is captured and applied to the service.",
    Phase.BACKFILL: "History is copied beside live writes.",
    Phase.VERIFY: "Both sides were compared and found equal.",
    Phase.SWITCH_READS: "The service answers reads, by share.",
    Phase.CUTOVER: "The service owns the writes; they are carried back.",
    Phase.DECOMMISSION: "The old tables are put away.",
}
KEPT = "The old tables are kept as copies that follow the service."


def read_road(phase: Phase, gates: list[dict[str, Any]], *, kept: bool = False) -> list[dict[str, Any]]:
    """One station a phase; `gates` are those of the phase that is next; with `kept` the old tables stay as copies."""
    at = ORDER.index(phase)
    road = []
    for number, each in enumerate(ORDER):
        standing = "behind" if number < at else "here" if number == at else "next" if number == at + 1 else "later"
        road.append(
            {
                "number": number + 1,
                "phase": each.value,
                "title": each.value.replace("_", " "),
                "purpose": KEPT if kept and each is Phase.DECOMMISSION else PURPOSES[each],
                "standing": standing,
                "command": COMMANDS.get(each, ""),
                "gates": gates if standing == "next" else [],
                "blocked": sum(1 for gate in gates if gate["missing"]) if standing == "next" else 0,
            }
        )
    return road


def read_gates(env: Surroundings, phase: Phase) -> list[dict[str, Any]]:
    """Each gate of the next phase by name, with what it misses; one that cannot be asked says why and is shut."""
    following = FORWARD.get(phase)
    if following is None:
        return []
    found = []
    try:
        for name, missing in MOVES[following].look(env):
            found.append({"gate": name, "title": name.replace("_", " "), "missing": missing})
    except StrangleError as error:
        found.append({"gate": "unknown", "title": "could not be asked", "missing": [str(error)]})
    return found


def read_plan(env: Surroundings, phase: Phase) -> list[str]:
    """What the move to the next phase would do, in sentences."""
    following = FORWARD.get(phase)
    if following is None:
        return []
    plan = DryRunExecutor(env)
    MOVES[following].start(plan, env.options)
    return plan.plan


def read_remaining(env: Surroundings, phase: Phase, facts: dict[str, Any]) -> list[dict[str, Any]]:
    """What stands between now and the decommission, each item done or not; the burn-down counts the open ones."""
    at = ORDER.index(phase)
    items = [
        _item(f"enter {each.value.replace('_', ' ')}", done=number <= at, detail=COMMANDS.get(each, ""))
        for number, each in enumerate(ORDER)
        if number
    ]
    kept = is_kept(env.context)
    gone = phase is Phase.DECOMMISSION and not kept
    references = [] if gone else incoming_references(env.source, old_tables(env))
    held = ", ".join(sorted({each["table"] for each in references}))
    cut = (
        "a row that the service deletes could not follow"
        if kept
        else "the decommission cuts them and keeps their definitions"
    )
    items.append(
        _item(
            f"references of other tables to {'the copies' if kept else 'the old ones'}",
            done=not references,
            detail=f"{len(references)} of {held}; {cut}" if references else "",
        )
    )
    strangers = [] if gone else [each for each in facts["users"] if not each["ours"] and (each["writes"] or not kept)]
    names = ", ".join(sorted({str(each["role"]) for each in strangers}))
    items.append(
        _item(
            f"sessions that {'write the copies' if kept else 'use the old tables'}",
            done=not strangers,
            detail=f"{len(strangers)} seen within the hour, as {names}" if strangers else "",
        )
    )
    percent = facts["reads_percent"]
    if percent is not None:
        items.append(_item("reads answered by the service", done=percent >= 100, detail=f"{percent:g} %"))
    parked, differing = facts["parked"], facts["shadow_open"]
    items.append(_item("parked events", done=not parked, detail=f"{parked} wait" if parked else ""))
    items.append(
        _item(
            "shadow differences that nobody ruled about", done=not differing, detail=f"{differing}" if differing else ""
        )
    )
    return items


def _item(what: str, *, done: bool, detail: str) -> dict[str, Any]:
    return {"what": what, "done": done, "detail": detail}
