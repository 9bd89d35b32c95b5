"""Shadow reads: how many were compared and how many differed beyond noise."""

from migration_tools.routing.verdict import Compared


def read_compared(context: str) -> Compared:
    """The sums of a context, so that two readings can be subtracted."""
    return Compared()
