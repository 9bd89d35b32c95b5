"""The rows of the table: what more processes give, and what they cost, against one of each."""

from benchmarks.ratios import Ratio, Samples
from benchmarks.scaling import streams

COST = 1.15


def stream_ratios(found: Samples) -> dict[str, Ratio]:
    """Events a second and CPU an event, against one relay and one consumer of one stream."""
    return {
        "events, two relays and two consumers": _more(
            found, streams.STANDBYS, streams.ONE, "events/s", 0.85, "one of each: the second stands by"
        ),
        "CPU an event, two relays and two consumers": _cost(found, streams.STANDBYS, streams.ONE, "an event"),
        "events, two streams": _more(found, streams.TWO, streams.ONE, "events/s", 1.0, "one stream, as many events"),
        "CPU an event, two streams": _cost(found, streams.TWO, streams.ONE, "an event"),
    }


def backfill_ratios(found: Samples) -> dict[str, Ratio]:
    """Rows a second and CPU a row, against the caller alone."""
    alone = "0 Celery workers"
    table = {}
    for count in (1, 2):
        name = f"{count} Celery workers"
        title = f"{count} Celery worker{'s' if count > 1 else ''}"
        table[f"backfill, {title}"] = _more(found, name, alone, "rows/s", 1.0, "the caller alone")
        table[f"CPU a row, {title}"] = _cost(found, name, alone, "a row")
    return table


def proxy_ratios(found: Samples) -> dict[str, Ratio]:
    """Requests a second and CPU a request, against one Envoy."""
    return {
        "requests, two Envoys": _more(found, "2 Envoys", "1 Envoy", "requests/s", 1.0, "one Envoy, as many readers"),
        "CPU a request, two Envoys": _cost(found, "2 Envoys", "1 Envoy", "a request", "the Envoys alone"),
    }


def pooler_ratios(found: Samples, clients: int) -> dict[str, Ratio]:
    """Transactions a second and sessions, against as many clients without a pooler."""
    return {
        f"captured writes of {clients} clients, through PgBouncer": _more(
            found, "through PgBouncer", "directly", "tps", 0.85, "the same directly"
        ),
        f"sessions of {clients} clients, through PgBouncer": Ratio(
            measured=found["through PgBouncer, sessions"],
            limit=found["directly, sessions"],
            goal=0.25,
            better="lower",
            unit="sessions",
            note="one a client",
        ),
    }


def _more(found: Samples, many: str, one: str, unit: str, goal: float, note: str) -> Ratio:
    measured, limit = found[f"{many}, {unit}"], found[f"{one}, {unit}"]
    return Ratio(measured=measured, limit=limit, goal=goal, better="higher", unit=unit, note=note)


def _cost(found: Samples, many: str, one: str, of: str, note: str = "all processes and servers together") -> Ratio:
    measured, limit = found[f"{many}, µs {of}"], found[f"{one}, µs {of}"]
    return Ratio(measured=measured, limit=limit, goal=COST, better="lower", unit="µs", note=note)
