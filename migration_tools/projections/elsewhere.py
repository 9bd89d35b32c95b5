"""Open the store of a read model that lives outside the database."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Protocol

from migration_tools.conf import settings
from migration_tools.errors import SettingsError
from migration_tools.projections.declaration import Change, ReadModel
from migration_tools.projections.slots import Slot

# Named, not imported: only who opens a store needs its driver.
ENGINES = {
    "redis": "migration_tools.projections.redis_rows:RedisRows",
    "elasticsearch": "migration_tools.projections.elasticsearch_rows:ElasticsearchRows",
    "mongodb": "migration_tools.projections.mongodb_rows:MongoRows",
}


class Elsewhere(Protocol):
    """Rows of a read model in another store; see Note [rows outside the database] in projections.redis_rows."""

    def apply(self, slot: Slot, changes: Iterable[Change], *, stream: str, position: int, shown: bool) -> None:
        """Merge changes into a slot, each row atomically; with `shown`, readers see this slot afterwards."""
        ...

    def read(self, table: str, key: Mapping[str, Any]) -> dict[str, Any] | None:
        """The values of a row as readers see it, key included; None when there is none."""
        ...

    def show(self, number: int) -> None:
        """Let readers see a slot."""
        ...

    def drop(self, number: int) -> None:
        """Remove a slot's rows."""
        ...

    def close(self) -> None:
        """Give connections back."""
        ...


@contextmanager
def opened(model: ReadModel) -> Iterator[Elsewhere]:
    """The store that the model names, for the block; its calls raise StoreAway while it does not answer.

    Raises:
        SettingsError: there is none of that name, or its engine holds no read models.
    """
    store = settings().STORES.get(model.store)
    if store is None or store.get("ENGINE") not in ENGINES:
        raise SettingsError(
            f"read model {model.name!r} has the store {model.store!r}; MIGRATION_TOOLS['STORES'] must name it with "
            f"ENGINE {' or '.join(map(repr, ENGINES))}, but has {sorted(settings().STORES)}"
        )
    module, _, kind = ENGINES[store["ENGINE"]].partition(":")
    rows: Elsewhere = getattr(import_module(module), kind)(model, str(store["URL"]))
    try:
        yield rows
    finally:
        rows.close()
