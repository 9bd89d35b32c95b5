"""The figures as a collector of prometheus-client, which asks the database when it is scraped."""

from collections.abc import Iterable, Iterator
from typing import Any, cast

from django.db import connections
from prometheus_client.core import CollectorRegistry, CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from migration_tools.conf import settings
from migration_tools.messaging.metrics import Sample
from migration_tools.observability.figures import FAMILIES, collect
from migration_tools.stores.postgres import Connection


class StrangleCollector(Collector):
    """Register it with a registry of your own to have our metrics beside yours; nothing is kept in the process."""

    def collect(self) -> Iterator[Metric]:
        """Read this side's database."""
        with connections[settings().DATABASE].cursor() as cursor:
            yield from families(collect(cast("Connection", _Statements(cursor))))

    def describe(self) -> Iterable[Metric]:
        """Names without values, so that registering asks no database."""
        return families([])


def families(samples: Iterable[Sample]) -> Iterator[Metric]:
    """Samples by family, in the order of FAMILIES; without samples the bare families."""
    found: dict[str, list[Sample]] = {name: [] for name in FAMILIES}
    for sample in samples:
        found[sample.name].append(sample)
    nothing = not any(found.values())
    for name, (kind, what) in FAMILIES.items():
        if not found[name] and not nothing:
            continue
        labels = list(found[name][0].labels) if found[name] else []
        family: Any = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, what, labels=labels)
        for sample in found[name]:
            family.add_metric([sample.labels[label] for label in labels], float(sample.value))
        yield family


def exposed() -> bytes:
    """Prometheus' text exposition format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StrangleCollector())
    return generate_latest(registry)


class _Statements:
    """Lets what was written for psycopg's connections run on a cursor of Django's, whatever its driver."""

    def __init__(self, cursor: Any):
        self._cursor = cursor

    def execute(self, query: Any, params: Any = None) -> Any:
        self._cursor.execute(query, params)
        return self._cursor
