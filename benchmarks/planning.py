"""Plan a large migration from a few measured figures: time, log, lag, connections (`python -m benchmarks.planning`)."""

import argparse
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was measured on your machines with your rows, in small: copy two sizes, compare one, write a while."""

    copy_fixed_seconds: float
    copy_seconds_per_row: float
    verify_seconds_per_row: float
    target_wal_bytes_per_row: float
    source_wal_bytes_per_write: float
    applied_rows_per_second: float


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to be moved: rows over all services, what is written meanwhile, and how much is done at a time."""

    rows: int
    services: int
    writes_per_second: float
    workers: int = 1
    worker_gain: float = 0.8
    services_at_once: int = 1
    hours_a_day: float = 24.0
    relays: int = 2
    consumers: int = 2
    pool: int = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The answer; seconds and days are of the whole job, sessions are those of one server at a time."""

    copy_days: float
    verify_days: float
    target_wal_bytes: float
    source_wal_bytes_per_day: float
    load: float
    catch_up_seconds_per_minute: float
    monolith_sessions: int
    service_sessions: int
    warnings: tuple[str, ...] = ()


def fitted(runs: Iterable[tuple[int, float]]) -> tuple[float, float]:
    """Fixed seconds and seconds a row, of runs of (rows, seconds), by least squares; neither is below 0."""
    points = list(runs)
    mean_x = sum(rows for rows, _ in points) / len(points)
    mean_y = sum(seconds for _, seconds in points) / len(points)
    spread = sum((rows - mean_x) ** 2 for rows, _ in points)
    slope = max(sum((rows - mean_x) * (seconds - mean_y) for rows, seconds in points) / spread, 0.0)
    return max(mean_y - slope * mean_x, 0.0), slope


def copy_seconds(figures: Figures, rows: int, workers: int = 1, gain: float = 0.8) -> float:
    """How long the copy of one context takes; each further worker adds `gain` of one."""
    return figures.copy_fixed_seconds + rows * figures.copy_seconds_per_row / (1 + gain * (workers - 1))


def monolith_sessions(job: Job) -> int:
    """Sessions of the toolkit in the monolith's database, while `services_at_once` contexts move.

    A stream's leading relay holds three (numbers, publishes, retires) and each standby one; a consumer of a service's
    stream holds one, and two where it looks at its locks. A move and a copy hold five, and one more for each worker.
    """
    return job.services * (3 + (job.relays - 1) + job.consumers) + job.services_at_once * (5 + job.workers) + job.pool


def service_sessions(job: Job) -> int:
    """The same in one service's database."""
    return 3 + (job.relays - 1) + job.consumers + 4 + job.workers + job.pool


def plan(job: Job, figures: Figures) -> Plan:
    """Carry a job out on paper."""
    each = job.rows // job.services
    rounds = -(-job.services // job.services_at_once)
    open_share = job.hours_a_day / 24.0
    load = job.writes_per_second / figures.applied_rows_per_second
    warnings = []
    if load >= 1:
        warnings.append("more is written than one consumer applies: the lag grows without end; split the stream")
    elif load > 0.7:
        warnings.append("less than a third is spare: a pause of the consumer is caught up with slowly")
    sessions = monolith_sessions(job)
    if sessions > 300:
        warnings.append(f"{sessions} sessions in the monolith's database; move fewer services at once, or fewer relays")
    return Plan(
        copy_days=rounds * copy_seconds(figures, each, job.workers, job.worker_gain) / DAY / open_share,
        verify_days=rounds * each * figures.verify_seconds_per_row / DAY / open_share,
        target_wal_bytes=job.rows * figures.target_wal_bytes_per_row,
        source_wal_bytes_per_day=job.writes_per_second * DAY * figures.source_wal_bytes_per_write,
        load=load,
        catch_up_seconds_per_minute=60 * load / (1 - load) if load < 1 else float("inf"),
        monolith_sessions=sessions,
        service_sessions=service_sessions(job),
        warnings=tuple(warnings),
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.planning", description=__doc__)
    parser.add_argument("--figures", required=True, help="a JSON file with the fields of Figures")
    parser.add_argument("--rows", type=int, default=10_000_000_000)
    parser.add_argument("--services", type=int, default=50)
    parser.add_argument("--writes-per-second", type=float, default=1000.0)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--worker-gain", type=float, default=0.8, help="what a further worker adds, of the first one")
    parser.add_argument("--services-at-once", type=int, default=2)
    parser.add_argument("--hours-a-day", type=float, default=8.0)
    options = vars(parser.parse_args())
    with open(options.pop("figures"), encoding="utf-8") as file:
        figures = Figures(**json.load(file))
    print(json.dumps(asdict(plan(Job(**options), figures)), indent=1))


if __name__ == "__main__":
    main()
