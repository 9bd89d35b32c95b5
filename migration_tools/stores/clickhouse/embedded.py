"""ClickHouse inside this process, through chdb: one engine a process, its data in a directory."""

from collections.abc import Mapping, Sequence
from typing import Any

from chdb import ChdbError, session

from migration_tools.stores.clickhouse import dialect
from migration_tools.stores.clickhouse.failures import failure
from migration_tools.stores.clickhouse.store import ClickHouseStore
from migration_tools.stores.clickhouse.tsv import escape

DATABASE = "replicas"


class EmbeddedClickHouse(ClickHouseStore):
    """The store in the directory `url`, which no other process may have open; one directory a process."""

    def __init__(self, url: str):
        super().__init__(_Embedded(url))


class _Embedded:
    database = DATABASE

    def __init__(self, directory: str):
        make: Any = session.Session
        try:
            self._session: Any = make(directory)
        except (ChdbError, RuntimeError) as error:
            raise failure(error) from error

    def ask(self, statement: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """See Engine."""
        escaped = {name: escape(value) for name, value in (parameters or {}).items()}
        try:
            return bytes(self._session.query(statement, "TabSeparated", params=escaped).bytes() or b"")
        except (ChdbError, RuntimeError) as error:
            raise failure(error) from error

    def insert(self, table: str, columns: Sequence[str], block: bytes) -> None:
        """See Engine."""
        names = ", ".join(dialect.quote(name) for name in columns)
        try:
            self._session.query(f"INSERT INTO {table} ({names}) FORMAT TabSeparated\n" + block.decode())
        except (ChdbError, RuntimeError) as error:
            raise failure(error) from error

    def close(self) -> None:
        """See Engine."""
        self._session.close()
