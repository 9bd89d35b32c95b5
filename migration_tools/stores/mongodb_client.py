"""A MongoDB by its URL, and what it says when it fails, without the values that its messages quote."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pymongo
from bson.errors import BSONError
from pymongo.errors import (
    BulkWriteError,
    ConnectionFailure,
    ExecutionTimeout,
    OperationFailure,
    PyMongoError,
    WTimeoutError,
)

from migration_tools.errors import StoreAway, StoreError

# Until a server is found, where the URL does not say otherwise; a server that hangs while it is greeted is none.
FOUND_SECONDS = 5.0

# WriteConflict: nothing was done, and the same may be asked again at once.
CONFLICT = 112
BUSY = "MongoDB was busy with another writer; run the same command again"
DUPLICATE_KEY = 11_000


def database_at(url: str, name: str, *, answer_seconds: float = 60.0) -> Any:
    """The pymongo Database that the URL names, else `name`; its `client` is closed by the caller.

    Where the URL does not say otherwise, a server that has not answered after `answer_seconds` is away.
    It is read from the primary whatever the URL says: what a secondary does not have yet would look like a difference.

    Raises:
        StoreError: the URL is none.
    """
    wished = {
        "serverSelectionTimeoutMS": FOUND_SECONDS,
        "connectTimeoutMS": FOUND_SECONDS,
        "socketTimeoutMS": answer_seconds,
    }
    patience: dict[str, Any] = {
        option: int(seconds * 1000) for option, seconds in wished.items() if option.lower() not in url.lower()
    }
    with answering():
        client: Any = pymongo.MongoClient(url, tz_aware=True, **patience)
        return client.get_default_database(name, read_preference=pymongo.ReadPreference.PRIMARY)


@contextmanager
def answering() -> Iterator[None]:
    """Tell what the driver raises in the block.

    Raises:
        StoreAway: no server answers in time, or none that may be written to.
        StoreError: it refused, or the driver did in its place.
    """
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout, WTimeoutError) as error:
        raise StoreAway(
            f"MongoDB does not answer ({type(error).__name__}); start it, then run the same command again"
        ) from error
    except BulkWriteError as error:
        codes = {fault.get("code") for fault in (error.details or {}).get("writeErrors", [])}
        if CONFLICT in codes <= {CONFLICT, DUPLICATE_KEY}:
            raise StoreAway(BUSY) from error
        raise StoreError(f"MongoDB refused rows: codes {sorted(codes)}") from error
    except OperationFailure as error:
        if error.code == CONFLICT:
            raise StoreAway(BUSY) from error
        raise StoreError(f"MongoDB refused (code {error.code})") from error
    except (PyMongoError, BSONError, OverflowError) as error:
        raise StoreError(f"MongoDB failed ({type(error).__name__})") from error
