"""The connection to MongoDB: one client a process, and its failures in the toolkit's words."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import pymongo
from pymongo.errors import ConnectionFailure, ExecutionTimeout, OperationFailure, PyMongoError, WriteConcernError

from migration_tools.errors import StoreAway, StoreError

# A server that hangs is away, too.
WAITING = {"serverSelectionTimeoutMS": 5_000, "connectTimeoutMS": 5_000, "socketTimeoutMS": 10_000}
WRITE_CONFLICT = 112
CONFLICT_SECONDS = 5.0
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
        if _is_conflict(error):
            raise StoreAway("others write the same document all the time; try again in a moment") from error
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


class Patient:
    """A collection whose operations are done again where another's write of the same document came between.

    Then the server has changed nothing. MongoDB mostly tries again by itself; others that speak its protocol say so.
    """

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The collection's own operation, tried for some seconds."""
        operation: Callable[..., Any] = getattr(self._collection, name)

        @wraps(operation)
        def patiently(*args: Any, **options: Any) -> Any:
            end = time.monotonic() + CONFLICT_SECONDS
            while True:
                try:
                    return operation(*args, **options)
                except OperationFailure as error:
                    if not _is_conflict(error) or time.monotonic() > end:
                        raise
                    time.sleep(random.uniform(0.001, 0.02))  # noqa: S311

        return patiently


def _is_conflict(error: PyMongoError) -> bool:
    return getattr(error, "code", None) == WRITE_CONFLICT
