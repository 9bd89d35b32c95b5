"""The toolkit's connections to both sides, as its commands open them."""

from collections.abc import Iterator
from contextlib import contextmanager

from migration_tools.stores.postgres import connect
from migration_tools.transfer.stops import Ends


@contextmanager
def open_ends() -> Iterator[Ends]:
    """Connections of the forward direction."""
    with (
        connect("default", "benchmark") as sender,
        connect("default", "benchmark") as reader,
        connect("service", "benchmark") as receiver,
    ):
        yield Ends(stream="bench", sender=sender, reader=reader, receiver=receiver)
