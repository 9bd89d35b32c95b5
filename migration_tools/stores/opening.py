"""Open the store that a name in MIGRATION_TOOLS['STORES'] means, and say what is wrong with that setting."""

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import Any, cast

from migration_tools.conf import settings
from migration_tools.errors import SettingsError, StoreError
from migration_tools.stores.ports import Store

# Named, not imported: only who opens a store needs its driver.
ENGINES = {
    "clickhouse": "migration_tools.stores.clickhouse.server:ClickHouseServer",
    "chdb": "migration_tools.stores.clickhouse.embedded:EmbeddedClickHouse",
    "elasticsearch": "migration_tools.stores.elasticsearch.store:ElasticsearchStore",
    "mongodb": "migration_tools.stores.mongodb:MongoStore",
    "postgresql": "migration_tools.stores.postgres.replica:PostgresStore",
    "redis": "migration_tools.stores.redis:RedisStore",
    "tantivy": "migration_tools.stores.tantivy:TantivyStore",
}
_KEYS = {"ENGINE", "URL", "OPTIONS"}


def find_store_mistakes(stores: Any) -> list[str]:
    """What is wrong with a STORES value, one sentence each."""
    if not isinstance(stores, Mapping):
        return [f"MIGRATION_TOOLS['STORES'] is {type(stores).__name__}; it must be a dict"]
    mistakes = []
    for name, store in stores.items():
        where = f"MIGRATION_TOOLS['STORES'][{name!r}]"
        if not isinstance(store, Mapping) or not {"ENGINE", "URL"} <= set(store):
            mistakes.append(f"{where} must be a dict with 'ENGINE' and 'URL'")
            continue
        mistakes += [f"{where} has an unknown key {key!r}{nearest(key, _KEYS)}" for key in set(store) - _KEYS]
        engine = store["ENGINE"]
        if engine not in ENGINES and ":" not in str(engine):
            mistakes.append(
                f"{where}: there is no engine {engine!r}{nearest(engine, ENGINES)}, or a class as 'package.module:Name'"
            )
    return mistakes


def nearest(given: object, known: Any) -> str:
    """End a sentence about an unknown name with the nearest known one, else with all of them."""
    near = difflib.get_close_matches(str(given), [str(name) for name in known], n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {sorted(known)}"


def open_store(name: str) -> Store:
    """Open a store; its caller closes it.

    Raises:
        SettingsError: no such store, or its engine cannot be imported.
        StoreError: it does not answer.
    """
    stores = settings().STORES
    mistakes = find_store_mistakes(stores)
    if name not in stores:
        mistakes.append(f"there is no store {name!r} in MIGRATION_TOOLS['STORES']{nearest(name, stores)}")
    if mistakes:
        raise SettingsError("; ".join(mistakes))
    chosen = stores[name]
    engine = str(chosen["ENGINE"])
    module, _, kind = ENGINES.get(engine, engine).partition(":")
    try:
        make = getattr(import_module(module), kind)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"the engine {engine!r} of store {name!r} cannot be imported: {error}; install "
            f"django-strangler[{engine if engine in ENGINES else 'engine'}]"
        ) from error
    try:
        return cast(
            Store, make(chosen["URL"], **{key.lower(): value for key, value in chosen.get("OPTIONS", {}).items()})
        )
    except TypeError as error:
        raise StoreError(f"store {name!r} does not take its OPTIONS: {error}") from error
