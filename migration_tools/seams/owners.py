"""Which of some keys an owner has: asked of its table in a database, or of its API."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from django.apps import apps

from migration_tools.errors import SeamError

Existing = Callable[[list[int]], Iterable[int]]
AT_ONCE = 100


def in_database(conn: Any, to: str, table: str = "", key: str = "") -> Existing:
    """Ask a table by a connection of stores.postgres; by default the one that the model `to` has in this project.

    Raises:
        SeamError: the model is not installed, and no table was named.
    """
    from migration_tools.stores.postgres import sql

    if not table:
        try:
            meta = apps.get_model(to)._meta
        except LookupError as error:
            raise SeamError(f"{to} is not installed here; name its owner's table, or ask its API") from error
        table, key = meta.db_table, key or str(meta.pk.column)
    query = sql.SQL("SELECT {0} FROM {1} WHERE {0} = ANY (%s)").format(sql.Identifier(key or "id"), _table(sql, table))
    return lambda keys: [row[0] for row in conn.execute(query, [keys]).fetchall()]


def _table(sql: Any, name: str) -> Any:
    return sql.Identifier(*name.split(".", 1))


def by_api(url: str, *, key: str = "", token: str = "") -> Existing:
    """Ask `url?ids=1,2,3`, a hundred at a time; it answers a list of objects, or one under `results`, not in pages.

    The token is sent as a bearer's and told nobody.
    """
    import httpx2

    headers = {"Authorization": f"Bearer {token}"} if token else {}

    def existing(keys: list[int]) -> list[int]:
        found: list[int] = []
        with httpx2.Client(headers=headers, trust_env=False, timeout=30) as client:
            for start in range(0, len(keys), AT_ONCE):
                asked = ",".join(map(str, keys[start : start + AT_ONCE]))
                try:
                    answer = client.get(url, params={"ids": asked})
                    answer.raise_for_status()
                    told = answer.json()
                    if isinstance(told, dict) and told.get("next"):
                        raise SeamError(
                            f"{url} answers {len(keys[start : start + AT_ONCE])} ids in pages, so rows would seem to "
                            "be gone that are not; let it give all that it is asked for, or ask the owner's table"
                        )
                    rows = told["results"] if isinstance(told, dict) else told
                    found += [int(row[key or "id"]) for row in rows]
                except httpx2.HTTPError as error:
                    raise SeamError(f"{url} did not answer which rows there are: {type(error).__name__}") from error
                except (ValueError, KeyError, TypeError) as error:
                    raise SeamError(
                        f"{url} does not answer ?ids= by a list of objects with {key or 'id'!r}; see "
                        "migration_tools.composition.batch"
                    ) from error
        return found

    return existing


def token_of(variable: str) -> str:
    """A token from the environment, where no list of processes shows it.

    Raises:
        SeamError: the variable is empty.
    """
    token = os.environ.get(variable, "") if variable else ""
    if variable and not token:
        raise SeamError(f"the environment variable {variable!r} is empty; put the token there")
    return token
