"""What SHARDS says: the maps of this process, their tables, and the databases of their shards."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings as django_settings

from migration_tools.conf import settings
from migration_tools.errors import ShardingError
from migration_tools.sharding.mapping import Strategy

BUCKETS = 1024


@dataclass(frozen=True, kw_only=True)
class ShardedTable:
    """A table on every shard: its primary key, the column with each row's bucket, and the one that it is found by."""

    table: str
    key: str = "id"
    bucket: str = "bucket"
    by: str = ""

    @property
    def found_by(self) -> str:
        """The column whose value decides the bucket; the key, unless rows lie with those that they belong to."""
        return self.by or self.key


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A database: its alias, what clients elsewhere call it, and the region whose rows it may hold ("": any)."""

    name: str
    alias: str
    endpoint: str = ""
    region: str = ""


@dataclass(frozen=True, kw_only=True)
class Sharding:
    """One map's declaration; tables in the order in which rows may be inserted."""

    name: str
    strategy: Strategy
    buckets: int
    tables: tuple[ShardedTable, ...]
    shards: Mapping[str, Shard]

    def shard(self, name: str) -> Shard:
        """The shard of this name.

        Raises:
            ShardingError: SHARDS has none.
        """
        if name not in self.shards:
            raise ShardingError(
                f"MIGRATION_TOOLS['SHARDS'][{self.name!r}] has no shard {name!r}; it has {sorted(self.shards)}"
            )
        return self.shards[name]


def sharding(name: str) -> Sharding:
    """The declaration of a map.

    Raises:
        ShardingError: SHARDS has none of that name, or it cannot be used; with all its mistakes.
    """
    declared = settings().SHARDS
    if name not in declared:
        raise ShardingError(f"MIGRATION_TOOLS['SHARDS'] has no {name!r}; it has {sorted(declared)}")
    mistakes = list(find_mistakes(name, declared[name]))
    if mistakes:
        raise ShardingError("; ".join(mistakes))
    raw = declared[name]
    return Sharding(
        name=name,
        strategy=Strategy(raw.get("STRATEGY", "hash")),
        buckets=raw.get("BUCKETS", BUCKETS),
        tables=tuple(ShardedTable(**each) for each in raw["TABLES"]),
        shards={
            key: Shard(name=key, alias=each["ALIAS"], endpoint=each.get("ENDPOINT", ""), region=each.get("REGION", ""))
            for key, each in raw["DATABASES"].items()
        },
    )


def find_mistakes(name: str, raw: Any) -> Iterable[str]:
    """What is wrong with one map's declaration, in sentences."""
    where = f"MIGRATION_TOOLS['SHARDS'][{name!r}]"
    if not isinstance(raw, Mapping) or not raw.get("TABLES") or not raw.get("DATABASES"):
        yield f"{where} must be a dict with 'TABLES' and 'DATABASES'"
        return
    unknown = set(raw) - {"STRATEGY", "BUCKETS", "TABLES", "DATABASES"}
    if unknown:
        yield f"{where} has unknown keys {sorted(unknown)}; it may have STRATEGY, BUCKETS, TABLES, DATABASES"
    if raw.get("STRATEGY", "hash") not in list(Strategy):
        yield f"{where}['STRATEGY'] is {raw['STRATEGY']!r}; it must be one of {[each.value for each in Strategy]}"
    for each in raw["TABLES"]:
        if not isinstance(each, Mapping) or "table" not in each or set(each) - {"table", "key", "bucket", "by"}:
            yield f"{where}['TABLES'] has {each!r}; each is a dict with 'table', and may have 'key', 'bucket' and 'by'"
    for key, each in raw["DATABASES"].items():
        if not isinstance(each, Mapping) or each.get("ALIAS") not in django_settings.DATABASES:
            yield f"{where}['DATABASES'][{key!r}] must be a dict with an 'ALIAS' of settings.DATABASES"
        elif raw.get("STRATEGY") == "geography" and not each.get("REGION"):
            yield f"{where}['DATABASES'][{key!r}] has no 'REGION', and the map is by geography"
