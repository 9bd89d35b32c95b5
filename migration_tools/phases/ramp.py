"""The ramp: a growing share of readers for the service, judged step by step by what they got, taken back at once."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from migration_tools.conf import settings
from migration_tools.errors import RolledBack, RoutingError
from migration_tools.phases.ports import Evidence, Executor
from migration_tools.phases.surroundings import Surroundings
from migration_tools.routing import publishing
from migration_tools.routing.counts import Counts
from migration_tools.routing.planes.capabilities import capabilities
from migration_tools.routing.shadows import read_compared
from migration_tools.routing.traffic import read_traffic
from migration_tools.routing.verdict import Finding, Limits, Verdict, judge
from migration_tools.state.journal import record

POLL_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """Shares in percent, growing; a step is judged for at least `step_seconds`, and as often as it takes.

    `on_no_data`: what to do when a step has had no sufficient data for `no_data_seconds`: "pause" stays at the share
    and goes on waiting, "rollback" takes the reads back.
    """

    steps: Sequence[float]
    limits: Limits
    step_seconds: float = 5.0
    on_no_data: str = "pause"
    no_data_seconds: float = 60.0


def climb(env: Surroundings, executor: Executor, ramp: Ramp) -> Evidence:
    """Go through the steps from the share that is in force; the last one green is the result.

    Every share, verdict and rollback is journalled; a ramp that was cut off goes on at the share it had reached.

    Raises:
        RolledBack: the new side was worse (or, where asked for, without data); every read goes to the old side again.
        RoutingError: no live proxy reports what readers get, so nothing could be judged; nothing was changed.
        Interrupted: by the operator; the share stays.
    """
    if not capabilities(settings().DATA_PLANE).counts:
        raise RoutingError(
            f"the data plane {settings().DATA_PLANE!r} does not count what readers get, so a ramp cannot judge; set "
            f"the share without steps: strangle_switch_reads {env.context} --percent 5"
        )
    if not publishing.live_proxies():
        raise RoutingError(
            "no live proxy reports what readers get, so a ramp cannot judge; start strangle_proxy run, "
            f"or set the share without steps: strangle_switch_reads {env.context} --percent 5"
        )
    route = publishing.current().contexts.get(env.context)
    reached = route.reads_percent if route is not None else 0.0
    old_before = read_traffic(env.context)["old"]
    steps: list[Evidence] = []
    for percent in [step for step in ramp.steps if step >= reached]:
        record(env.context, "ramp", "share", {"percent": percent, **executor.shift_reads(percent)})
        finding = _watch(env, ramp, percent, old_before)
        steps.append({"percent": percent, "verdict": finding.verdict.value, "reasons": list(finding.reasons)})
        record(env.context, "ramp", "judged", steps[-1])
        if finding.verdict is not Verdict.GREEN:
            executor.shift_reads(0)
            record(env.context, "ramp", "rolled_back", steps[-1])
            raise RolledBack(
                f"at {percent:g} % the service was taken out of the reads of {env.context!r}: "
                f"{'; '.join(finding.reasons)}. Every read goes to the monolith again; mend it, then run the same "
                f"command again"
            )
        env.say(f"{percent:g} %: {'; '.join(finding.reasons)}")
    return {"percent": max([reached, *ramp.steps]), "steps": steps}


def _watch(env: Surroundings, ramp: Ramp, percent: float, old_before: Counts) -> Finding:
    """Judge one step until it is green or worse, again and again: what is bad is seen at once, green takes its time."""
    began = time.monotonic()
    new_before, shadow_before = read_traffic(env.context)["new"], read_compared(env.context)
    said = ""
    while True:
        now = read_traffic(env.context)
        finding = judge(
            now["old"] - old_before, now["new"] - new_before, read_compared(env.context) - shadow_before, ramp.limits
        )
        passed = time.monotonic() - began
        if finding.verdict is Verdict.WORSE or (finding.verdict is Verdict.GREEN and passed >= ramp.step_seconds):
            return finding
        if finding.verdict is Verdict.NO_DATA and passed >= ramp.no_data_seconds:
            if ramp.on_no_data == "rollback":
                return finding
            if not said:
                said = "; ".join(finding.reasons)
                env.say(f"{percent:g} %: paused, no data is not green: {said}")
                record(env.context, "ramp", "paused", {"percent": percent, "reasons": list(finding.reasons)})
        env.wait(POLL_SECONDS)
