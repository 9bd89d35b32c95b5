"""A collection whose operations are done again where another's write of the same document came between."""

import random
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from pymongo.errors import OperationFailure

from migration_tools.stores.mongodb_client import CONFLICT

SECONDS = 5.0


class Patient:
    """The collection, its operations tried for some seconds.

    At such a conflict the server has changed nothing. MongoDB mostly tries again by itself; others that speak its
    protocol say so.
    """

    def __init__(self, collection: Any) -> None:
        self._collection = collection

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """The collection's own operation."""
        operation: Callable[..., Any] = getattr(self._collection, name)

        @wraps(operation)
        def patiently(*args: Any, **options: Any) -> Any:
            end = time.monotonic() + SECONDS
            while True:
                try:
                    return operation(*args, **options)
                except OperationFailure as error:
                    if error.code != CONFLICT or time.monotonic() > end:
                        raise
                    time.sleep(random.uniform(0.001, 0.02))  # noqa: S311

        return patiently
