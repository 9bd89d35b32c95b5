"""What works for good waits for a database that is away, instead of ending with it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import InterfaceError, OperationalError, connections

from migration_tools.stores.postgres.connection import describe_failure

AWAY_SECONDS = 0.5

log = logging.getLogger(__name__)


@contextmanager
def waited_for(alias: str, stop: threading.Event, who: str) -> Iterator[None]:
    """Do one turn of a loop; where the database of `alias` fails in it, say so, let go of it, and pause.

    The turn is not repeated here: the loop's next one is. A mistake in a statement is no failure of the database.
    """
    try:
        yield
    except (InterfaceError, OperationalError) as error:
        connections[alias].close()
        log.warning("%s: %s; trying again", who, describe_failure(error))
        stop.wait(AWAY_SECONDS)
