"""Where a context stands: phase, owner, lag, last verification, routes."""

import threading
from typing import Any

from migration_tools.management.operation import Operation
from migration_tools.phases.status import read_status
from migration_tools.phases.surroundings import REMOVE
from migration_tools.playbook.registry import get


class Command(Operation):
    """Reads only; works while one side is down."""

    help = "Show where a context stands: phase, owner, lag in both directions, last verification, routes."
    examples = ("orders", "orders --format json")
    purpose = "status"
    can_dry_run = False

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        status = read_status(get(options["context"]))
        return {
            "phase_after": status["phase"],
            "evidence": status,
            "lines": list(_lines(options["context"], status)),
            "message": "",
        }


def _lines(context: str, status: dict[str, Any]) -> list[str]:
    lines = [f"{context}: phase {status['phase']}, owner {status['owner'] or 'monolith (no fence installed)'}"]
    if status["removed"]:
        removed = status["removed"]
        lines.append(
            f"  the old tables were dropped on {removed['at'][:10]}; their final dump is in {removed['directory']}"
        )
    if status["kept_copies"]:
        lines.append(
            "  the old tables are kept as copies that follow the service: read by anybody, written by nobody else"
        )
    if status["move"] == REMOVE:
        lines.append(f"  their removal was cut off: strangle_decommission {context} --remove completes it")
    elif status["move"]:
        lines.append(f"  a move was cut off: {status['move']!r}; run its command again, or strangle_rollback {context}")
    backfill = status["backfill"]
    if backfill["holding"]:
        lines.append(f"  the copy waits: {backfill['holding']}")
    elif backfill["wish"] == "pause":
        lines.append(
            f"  copying is paused by {backfill['actor']}: {backfill['reason'] or 'no reason given'}; "
            f"strangle_backfill {context} --resume lets it go on"
        )
    for name, side in status["sides"].items():
        if "unreachable" in side:
            lines.append(f"  {name}: {side['unreachable']}")
            continue
        for each in side["consumers"]:
            lines.append(
                f"  {name} stream at {side['head']}: consumer {each['consumer']} {each['events']} records, "
                f"{each['seconds']:.1f} s behind, heard of {each['silent_seconds']:.0f} s ago"
            )
        for each in side["transports"]:
            lines.append(
                f"  {name} stream at {side['head']}: the broker ({each['transport']}) confirmed all but "
                f"{each['events']} records, last {each['confirmed_seconds']:.0f} s ago"
            )
        if side["unnumbered"]["rows"]:
            lines.append(
                f"  {name}: {side['unnumbered']['rows']} outbox rows wait for the relay since "
                f"{side['unnumbered']['seconds']:.1f} s"
            )
        lines += [
            f"  {name}: triggers on {each['table']} are {each['status']} ({each['detail']}); strangle_doctor {context} "
            "--mend puts them back"
            for each in side["capture"]
            if each["status"] != "installed"
        ]
        if side["log"]:
            log = side["log"]
            kept = "is lost: see strangle_doctor" if log["lost"] else f"keeps {log['retained_bytes']:,} bytes of log"
            lines.append(f"  {name}: slot {log['slot']} {kept}")
        if side["inbox"] and side["inbox"]["standstill"]:
            lines.append(f"  {name}: its consumer stands still: {side['inbox']['standstill']}")
        oldest = side["oldest_transaction"]
        if oldest and oldest["old"]:
            lines.append(f"  {name}: an old transaction keeps rows alive: {oldest['session']}; {oldest['remedy']}")
        if side["sagas"] and side["sagas"]["count"]:
            sagas = side["sagas"]
            lines.append(
                f"  {name}: {sagas['count']} sagas are open ({sagas['alarmed']} need somebody), the oldest for "
                f"{sagas['oldest_seconds']:.0f} s; a hand-over waits for them"
            )
        if side["dead_letters"]:
            lines.append(f"  {name}: {side['dead_letters']} events are parked")
    last = status["verification"]
    if last:
        verdict = "equal" if not last["differences"] else f"{last['differences']} differences"
        lines.append(f"  last verification {last['at'][:19]}: {last['rows']:,} rows, {verdict}")
    if status["route"]:
        route = status["route"]
        lines.append(
            f"  route: {route['reads_percent']:g} % of reads to the service, writes to {route['writes']}, "
            f"{route['proxies']} proxies live"
        )
    return lines
