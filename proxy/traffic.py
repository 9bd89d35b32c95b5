"""Count what readers of each context got from each side, by Envoy's own statistics, as differences between looks."""

from collections.abc import Iterable

from migration_tools.routing.counts import Counts, Observed
from migration_tools.routing.table import Side
from proxy.cluster_names import read_cluster
from proxy.process import EnvoyProcess

SIDES: tuple[Side, ...] = ("old", "new")
_PATTERN = "^cluster%5C..*_read_(old%7Cnew)%5C.upstream_rq_(completed%7C5xx%7Ctime)$"


class TrafficMeter:
    """What was new since the last look; an Envoy that started anew counts from zero again.

    The first look of all only remembers: a running Envoy that was adopted has counted for somebody else.
    """

    def __init__(self, envoy: EnvoyProcess) -> None:
        self._envoy = envoy
        self._seen: dict[tuple[str, Side], Counts] | None = None

    def look(self, contexts: Iterable[str]) -> list[Observed]:
        """
        Raises:
            OSError: Envoy does not answer; nothing is forgotten.
        """
        now = self._read(contexts)
        before, self._seen = self._seen, {**(self._seen or {}), **now}
        if before is None:
            return []
        found = []
        for (context, side), counts in now.items():
            last = before.get((context, side), Counts())
            fresh = counts - last if counts.requests >= last.requests else counts
            if fresh.requests or fresh.errors:
                found.append(Observed(context=context, side=side, counts=fresh))
        return found

    def _read(self, contexts: Iterable[str]) -> dict[tuple[str, Side], Counts]:
        numbers = self._envoy.admin.stats(_PATTERN)
        times = self._envoy.admin.histograms(_PATTERN)
        found: dict[tuple[str, Side], Counts] = {}
        for context in contexts:
            for side in SIDES:
                prefix = f"cluster.{read_cluster(context, side)}.upstream_rq_"
                found[context, side] = Counts(
                    requests=numbers.get(f"{prefix}completed", 0),
                    errors=numbers.get(f"{prefix}5xx", 0),
                    latencies={b: n for b, n in times.get(f"{prefix}time", {}).items() if n},
                )
        return found
