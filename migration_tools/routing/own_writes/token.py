"""What the answer to a write carries: the snapshot after its commit, in a cookie named after this one write; pure.

Note [tokens of writes]. A position of the stream is dense and assigned by a later tick, so a write cannot know its own.
What it can know without asking anybody is *what was committed when it had ended*: the database's snapshot, read once
after the view, whatever number of transactions it made. Whoever has applied a tick whose snapshot sees all of that has
applied the write.

Each write sets a cookie of a name of its own, and an answer takes away only those names that its request showed. With
one name, the late answer to a read that began before a second write would take that second write's token away, and the
next read could miss it. A further write takes the place of the tokens it was sent with: its snapshot sees theirs.
"""

import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from migration_tools.kernel.snapshots import Snapshot
from migration_tools.routing.table import own_write_pattern, own_write_prefix

# A cookie must stay short. Running transactions that are left out count as seen: waiting for them too is safe.
RUNNING_AT_MOST = 64
# A request with more tokens than these is judged by the first of them; the others stay.
TOKENS_AT_MOST = 16
_VALUE = re.compile(r"([A-Za-z0-9_-]{1,40})\.([0-9]{1,20})\.([0-9]{1,20})\.((?:[0-9]{1,20}(?:-[0-9]{1,20})*)?)")


@dataclass(frozen=True, kw_only=True)
class WriteToken:
    """What `side` had committed when it answered a write; without a snapshot, it could not say."""

    side: str
    snapshot: Snapshot | None

    def encode(self) -> str:
        """As a cookie's value."""
        if self.snapshot is None:
            return f"{self.side}.0.0."
        # The oldest are kept: they are the ones that may run long.
        running = sorted(self.snapshot.xip)[:RUNNING_AT_MOST]
        xmin, xmax = self.snapshot.xmin, self.snapshot.xmax
        return f"{self.side}.{xmin}.{xmax - xmin}.{'-'.join(str(xid - xmin) for xid in running)}"


def decode(value: str) -> WriteToken | None:
    """Read a cookie's value; None when it is none of ours."""
    found = _VALUE.fullmatch(value)
    if found is None:
        return None
    side, xmin, span, running = found[1], int(found[2]), int(found[3]), found[4]
    if xmin == 0:
        return WriteToken(side=side, snapshot=None)
    xip = tuple(xmin + int(each) for each in running.split("-")) if running else ()
    if max((xmin + span, *xip)) >= 1 << 63 or any(not xmin <= xid < xmin + span for xid in xip):
        return None
    return WriteToken(side=side, snapshot=Snapshot(xmin, xmin + span, xip))


def own(snapshot: Snapshot, xid: int | None) -> Snapshot:
    """The snapshot as it will be when the transaction `xid`, still open, has ended."""
    if xid is None or snapshot.sees(xid):
        return snapshot
    return Snapshot(snapshot.xmin, max(snapshot.xmax, xid + 1), tuple(x for x in snapshot.xip if x != xid))


def new_name(context: str) -> str:
    """A cookie's name that no other write has."""
    return f"{own_write_prefix(context)}{secrets.token_hex(4)}"


def presented(context: str, cookies: Mapping[str, str]) -> dict[str, str]:
    """The tokens among a request's cookies."""
    pattern = re.compile(own_write_pattern(context))
    names: Iterable[str] = (name for name in cookies if pattern.fullmatch(name))
    return {name: cookies[name] for name, _ in zip(names, range(TOKENS_AT_MOST), strict=False)}
