"""Which side answers a user's reads now, for code that must know it without asking the proxy."""

from typing import Any

from migration_tools.routing import publishing, table
from migration_tools.routing.table import Side


def side_for(user: Any, context: str) -> Side:
    """Which side the share gives a logged-in user (an object with `pk`, or the key itself) on all of their devices.

    In the monolith, whose database has the routing table. Rules, the pin after a write and the force header come before
    the share; see `table.reader_side`, which has them all.

    Raises:
        RoutingError: no such context, or the library `xxhash` is missing.
    """
    key = getattr(user, "pk", user)
    return table.side_for(publishing.current(), table.user_bucket_key(key), context)
