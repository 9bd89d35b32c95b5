"""The scenarios that the toolkit is held to: small enough to be explored whole, and together every room of it."""

from migration_tools.testing.model.transactions import Delete, Insert, Publish, Rekey, Rename, Swap, Update, transaction
from migration_tools.testing.model.world import Scenario

SYNC = Scenario(
    name="three transactions beside relay and consumer",
    rows=((1, "a"), (2, "a")),
    transactions=(
        transaction("T1", Update(1, "b"), Update(2, "b"), Publish("E1")),
        transaction("T2", Delete(1), Insert(1, "c")),
        transaction("T3", Update(2, "d"), rollback=True),
    ),
    crashes=1,
)
KEYS = Scenario(
    name="a key changes, and its old value is used again",
    rows=((1, "a"), (2, "b")),
    transactions=(
        transaction("T1", Rekey(1, 3)),
        transaction("T2", Swap(2, 3)),
        transaction("T3", Delete(2), Insert(4, "b")),
    ),
    unique=True,
)
NAMES = Scenario(
    name="a name of another context, joined into every row",
    transactions=(
        transaction("T1", Rename("m")),
        transaction("T2", Update(1, "b"), Insert(2, "b")),
        transaction("T3", Delete(1)),
    ),
)
COPY = Scenario(
    name="two chunks beside three transactions, relay and consumer",
    rows=((1, "a"), (2, "a")),
    chunks=(1, None),
    transactions=(
        transaction("T1", Update(2, "b"), Delete(1)),
        transaction("T2", Insert(1, "c")),
        transaction("T3", Update(2, "d"), rollback=True),
    ),
)
CRASH = Scenario(
    name="a copy that dies beside two transactions",
    rows=((1, "a"), (2, "a"), (3, "a")),
    chunks=(1, None),
    transactions=(
        transaction("T1", Update(2, "b"), Delete(1)),
        transaction("T2", Insert(1, "c")),
    ),
    crashes=1,
)
START = Scenario(
    name="capture is installed beside transactions",
    chunks=(None,),
    installed=False,
    transactions=(
        transaction("T1", Update(1, "b"), Insert(2, "b")),
        transaction("T2", Delete(1), repeatable=True),
    ),
)
CUTOVER = Scenario(
    name="a cutover beside two transactions",
    transactions=(
        transaction("T1", Update(1, "b"), Publish("E1")),
        transaction("T2", Insert(None, "c"), repeatable=True),
    ),
    moves=(1,),
    crashes=1,
    give_ups=1,
)
THREE = Scenario(
    name="a cutover beside three transactions",
    transactions=(
        transaction("T1", Update(1, "b")),
        transaction("T2", Delete(1), repeatable=True),
        transaction("T3", Insert(1, "d")),
    ),
    moves=(1,),
)
BACK = Scenario(
    name="a cutover and its rollback beside two transactions",
    transactions=(
        transaction("T1", Update(1, "b"), Publish("E1")),
        transaction("T2", Insert(None, "c")),
    ),
    moves=(1, 0),
    crashes=1,
)

ALL = (SYNC, KEYS, NAMES, COPY, CRASH, START, CUTOVER, THREE, BACK)
