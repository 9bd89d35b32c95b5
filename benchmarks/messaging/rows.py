"""The rows of the table of messaging: each quantity, what it is measured against, and the goal."""

from benchmarks.messaging.load import Work
from benchmarks.ratios import Ratio, Samples

P50_MS, P99_MS = 5.0, 25.0
PEER_FACTOR = 5.0
NO_GOAL = 0.0
#: The highest rate in Debezium's own report of 2 February 2026 ("Measuring Debezium Server performance when streaming
#: MySQL to Kafka"): 1,500 operations a second on one table, four vCPUs; the database, not Debezium, was the limit.
DEBEZIUM_A_SECOND = 1_500.0


def capture_ratios(found: Samples, clients: int) -> dict[str, Ratio]:
    """Transactions a second, and seconds of the bulk update, with and without capture."""
    return {
        f"capture, single-row updates by {clients} clients": Ratio(
            measured=found["tps, capture"],
            limit=found["tps, no capture"],
            goal=0.75,
            better="higher",
            unit="tps",
            note="the same updates of the table's twin without triggers; no commit waits for the disk",
        ),
        f"capture, single-row updates by {clients} clients, durable": Ratio(
            measured=found["durable tps, capture"],
            limit=found["durable tps, no capture"],
            goal=0.75,
            better="higher",
            unit="tps",
            note="the same with fsync on, as in production",
        ),
        f"capture, single-row updates by {clients} clients, beside a bare trigger": Ratio(
            measured=found["tps, capture"],
            limit=found["tps, bare trigger"],
            goal=NO_GOAL,
            better="higher",
            unit="tps",
            note="a trigger that writes one narrow row of one index: what any capture by triggers costs at least",
        ),
        f"a bare trigger, single-row updates by {clients} clients": Ratio(
            measured=found["tps, bare trigger"],
            limit=found["tps, no capture"],
            goal=NO_GOAL,
            better="higher",
            unit="tps",
            note="the same trigger beside the twin without triggers",
        ),
        f"capture from the log, single-row updates by {clients} clients": Ratio(
            measured=found["tps, from the log"],
            limit=found["tps, no capture"],
            goal=0.75,
            better="higher",
            unit="tps",
            note="by SOURCES 'log': the table has the fence's trigger alone; the log is read later",
        ),
        "capture, update of 10,000 rows": Ratio(
            measured=found["bulk update, capture"],
            limit=found["bulk update, no capture"],
            goal=2.0,
            better="lower",
            unit="seconds",
            note="the same statement on the twin",
        ),
    }


def reading_ratios(found: Samples, rows: int) -> dict[str, Ratio]:
    """Records a second into Python."""

    def row(name: str, limit: str, note: str) -> Ratio:
        return _faster(rows / found[name], rows / found[limit], 0.50, note)

    return {
        "relay reading": row("relay, reading", "SELECT of the records", "SELECT * of the same records into Python"),
        "relay numbering and reading": row(
            "relay, numbering and reading", "SELECT of the mapped rows", "SELECT of the mapped rows alone, into Python"
        ),
    }


def throughput_ratios(found: Samples, name: str, work: Work) -> dict[str, Ratio]:
    """Rows a second from the first write to the last one applied, against the writes alone."""
    alone = work.rows / found[f"{name}, writes alone"]
    note = f"the writes alone: {work.clients} clients, {work.size:,} rows a transaction"
    return {
        f"outbox → applied, {name}, {transport}": _faster(work.rows / found[f"{name}, {transport}"], alone, goal, note)
        for transport, goal in (("feed", 0.75), ("RabbitMQ", 0.60))
    }


def latency_ratios(found: Samples, name: str, rate: float) -> dict[str, Ratio]:
    """Milliseconds against the allowance, with the time of the commit itself beside them."""
    return {
        f"commit → applied at {rate:g} tx/s, {name}, p{share}": Ratio(
            measured=found[f"{name}, p{share}"],
            limit=limit,
            goal=1.0,
            better="lower",
            unit="ms",
            note=f"the writer's own commit took {found[f'{name}, commit p{share}']:.2f} ms (p{share})",
        )
        for share, limit in ((50, P50_MS), (99, P99_MS))
    }


def peer_ratios(found: Samples, events: int) -> dict[str, Ratio]:
    """Events a second from outbox to committed effect over RabbitMQ, against the peer's and against quoted figures."""
    ours = events / found["our events"]
    table = {}
    if "django-outbox-pattern" in found:
        peer = (events - 1) / found["django-outbox-pattern"]
        table["events, to django-outbox-pattern"] = _faster(ours, peer, PEER_FACTOR, "beside us, by STOMP")
    note = "its report of 2 February 2026: another machine, and its database was the limit"
    table["events, to Debezium's published figure"] = _faster(ours, DEBEZIUM_A_SECOND, PEER_FACTOR, note)
    return table


def _faster(measured: float, limit: float, goal: float, note: str) -> Ratio:
    return Ratio(measured=measured, limit=limit, goal=goal, better="higher", unit="rows/s", note=note)
