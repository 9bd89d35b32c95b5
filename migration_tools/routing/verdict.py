"""Judge a step of a ramp by what readers got from both sides: pure, and never green without data."""

import math
from dataclasses import dataclass
from enum import StrEnum

from migration_tools.routing.counts import Counts

GATES = ("errors", "latency", "diff")
# 1.96: the bound holds for 97.5 % of such samples.
_Z = 1.959964


class Verdict(StrEnum):
    """What a step's evidence says."""

    GREEN = "green"
    WORSE = "worse"
    NO_DATA = "no data"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """When the new side is worse than the old one."""

    gates: tuple[str, ...] = ("errors", "latency")
    min_requests: int = 500
    error_margin: float = 0.005
    errors_least: int = 3
    latency_factor: float = 1.5
    latency_margin_ms: float = 20.0
    diff_rate: float = 0.001
    diffs_least: int = 3


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Shadow reads compared since the step began, and those whose answers differed beyond noise."""

    compared: int = 0
    different: int = 0

    def __sub__(self, other: "Compared") -> "Compared":
        return Compared(compared=self.compared - other.compared, different=self.different - other.different)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict and why, in sentences."""

    verdict: Verdict
    reasons: tuple[str, ...]


def wilson_lower(bad: int, total: int) -> float:
    """The lower bound of the share that `bad` of `total` stands for (Wilson 1927, 95 %)."""
    if total <= 0 or bad <= 0:
        return 0.0
    share, square = bad / total, _Z * _Z
    centre = share + square / (2 * total)
    spread = _Z * math.sqrt(share * (1 - share) / total + square / (4 * total * total))
    return max((centre - spread) / (1 + square / total), 0.0)


def judge(old: Counts, new: Counts, shadow: Compared, limits: Limits) -> Finding:
    """Compare the sides by each gate asked for; one that is worse decides, then one without data.

    `new` and `shadow` are counted since the step began, `old` since the ramp began: a side that serves nobody any
    more is still what the new one is measured by.
    """
    worse: list[str] = []
    lacking: list[str] = []
    if new.requests < limits.min_requests:
        lacking.append(f"{new.requests} of {limits.min_requests} requests that a step needs")
    if "errors" in limits.gates:
        worse += _errors(old, new, limits)
    if "latency" in limits.gates:
        found, missing = _latency(old, new, limits)
        worse += found
        lacking += missing
    if "diff" in limits.gates:
        lower = wilson_lower(shadow.different, shadow.compared)
        if lower > limits.diff_rate and shadow.different >= limits.diffs_least:
            worse.append(
                f"{shadow.different} of {shadow.compared} shadow reads were answered differently, "
                f"more than {limits.diff_rate:.2%}"
            )
        elif not shadow.compared:
            lacking.append("no shadow read was compared; is a sample shadowed (strangle_route set … shadow=5%)?")
    if worse:
        return Finding(verdict=Verdict.WORSE, reasons=tuple(worse))
    if lacking:
        return Finding(verdict=Verdict.NO_DATA, reasons=tuple(lacking))
    return Finding(verdict=Verdict.GREEN, reasons=(_summary(old, new),))


def _errors(old: Counts, new: Counts, limits: Limits) -> list[str]:
    rate = old.errors / old.requests if old.requests else 0.0
    if new.errors >= limits.errors_least and wilson_lower(new.errors, new.requests) > rate + limits.error_margin:
        return [f"{new.errors} errors in {new.requests} answers of the new side, {rate:.2%} on the old side"]
    return []


def _latency(old: Counts, new: Counts, limits: Limits) -> tuple[list[str], list[str]]:
    before, after = old.quantile(0.95), new.quantile(0.95)
    if before is None:
        return [], ["the old side answered nobody since the ramp began, so there is no time to compare with"]
    allowed = before * limits.latency_factor + limits.latency_margin_ms
    if after is not None and after > allowed and new.requests >= min(limits.min_requests, 100):
        return [f"95 % of the new side's answers take up to {after:g} ms, of the old side's {before:g} ms"], []
    return [], []


def _summary(old: Counts, new: Counts) -> str:
    return (
        f"{new.requests} answers of the new side, {new.errors} errors, 95 % within {new.quantile(0.95) or 0:g} ms "
        f"(old side {old.requests}, {old.errors}, {old.quantile(0.95) or 0:g} ms)"
    )
