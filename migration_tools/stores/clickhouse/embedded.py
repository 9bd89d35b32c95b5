"""ClickHouse inside this process, through chdb: one engine a process, its data in a directory."""

from collections.abc import Mapping, Sequence

from chdb import ChdbError, session

from migration_tools.stores.clickhouse import dialect
from migration_tools.stores.clickhouse.failures import failure
from migration_tools.stores.clickhouse.store import ClickHouseStore
from migration_tools.stores.clickhouse.tsv import escape

DATABASE = "replicas"


class EmbeddedClickHouse(ClickHouseStore):
    """The store in the directory `url`; another process that has it open, or another directory in this one, is refused."""

    def __init__(self, url: str):
        super().__init__(_Embedded(url))


class _Embedded:
    database = DATABASE

    def __init__(self, directory: str):
        try:
            self._session = session.Session(directory)
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
            self._session.query(f"INSERT INTO {table} ({names}) FORMAT TabSeparated\n" + block.decode())  # noqa: S608
        except (ChdbError, RuntimeError) as error:
            raise failure(error) from error

    def close(self) -> None:
        """See Engine."""
        self._session.close()
