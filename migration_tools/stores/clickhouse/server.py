"""A ClickHouse server, through clickhouse-connect over HTTP."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.exceptions import Error

from migration_tools.stores.clickhouse.failures import failure
from migration_tools.stores.clickhouse.store import ClickHouseStore


class ClickHouseServer(ClickHouseStore):
    """The store at `url`: http(s)://user:password@host:port/database."""

    def __init__(self, url: str):
        super().__init__(_Server(url))


class _Server:
    def __init__(self, url: str):
        parts = urlsplit(url)
        self.database = parts.path.strip("/") or "default"
        try:
            # The database may not exist yet: names in statements are qualified instead.
            self._client = clickhouse_connect.get_client(
                host=parts.hostname or "localhost",
                port=parts.port or 0,
                username=parts.username or "default",
                password=parts.password or "",
                secure=parts.scheme == "https",
                compress=False,
                autogenerate_session_id=False,
            )
        except (Error, OSError) as error:
            raise failure(error) from error

    def ask(self, statement: str, parameters: Mapping[str, str] | None = None) -> bytes:
        """See Engine."""
        try:
            return bytes(self._client.raw_query(statement, parameters=dict(parameters or {}), fmt=_form(statement)))
        except (Error, OSError) as error:
            raise failure(error) from error

    def insert(self, table: str, columns: Sequence[str], block: bytes) -> None:
        """See Engine."""
        try:
            self._client.raw_insert(table, list(columns), insert_block=block, fmt="TabSeparated")
        except (Error, OSError) as error:
            raise failure(error) from error

    def close(self) -> None:
        """See Engine."""
        self._client.close()


def _form(statement: str) -> str | None:
    """The format to ask an answer in; what answers nothing takes no FORMAT clause."""
    return "TabSeparated" if statement.startswith(("SELECT", "DESCRIBE")) else None
