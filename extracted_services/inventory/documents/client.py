"""The connection to MongoDB: one client a process, and its failures in the toolkit's words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
from pymongo.errors import ConnectionFailure, ExecutionTimeout, PyMongoError, WriteConcernError

from migration_tools.errors import StoreAway, StoreError

# A server that hangs is away, too.
WAITING = {"serverSelectionTimeoutMS": 5_000, "connectTimeoutMS": 5_000, "socketTimeoutMS": 10_000}
AWAY = (ConnectionFailure, ExecutionTimeout, WriteConcernError)


@contextmanager
def answering() -> Iterator[None]:
    """Raise StoreAway where MongoDB does not answer, StoreError where it refuses; never with values in the message."""
    try:
        yield
    except AWAY as error:
        raise StoreAway(
            f"MongoDB does not answer ({type(error).__name__}); see INVENTORY_STORE_URL. Nothing is lost: the same "
            "step is done again when it does"
        ) from error
    except PyMongoError as error:
        raise StoreError(f"MongoDB refused a step ({type(error).__name__}, code {getattr(error, 'code', None)})") from (
            error
        )


def connect(url: str) -> Any:
    """A client of the server; close it. Nothing is asked yet."""
    with answering():
        return pymongo.MongoClient(url, **WAITING, tz_aware=True)


def database_of(client: Any) -> Any:
    """The database that the URL names, `inventory` if it names none."""
    return client.get_default_database("inventory")
