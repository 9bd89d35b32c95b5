"""What a playbook's author writes of replicas: which projection also goes into which store, beside the service."""

from collections.abc import Sequence

from migration_tools.conf import settings
from migration_tools.playbook.projection import Projection
from migration_tools.playbook.transform import Transform
from migration_tools.stores.opening import find_store_mistakes, nearest


class Replica:
    """The rows of a projection kept in a store that owns nothing: copied to, kept in sync, compared, dropped at will.

    Args:
        of: the projection, by its `into`; its mapping and its compiled relation serve the replica too.
        store: a key of MIGRATION_TOOLS['STORES'].
        into: the table or collection there; for Redis a template of keys, such as "order:{id}".
        columns: only these columns of the projection and its key; all by default.
        as_text: columns kept as PostgreSQL's text, where a type of the store's own would not hold every value.
    """

    def __init__(
        self, of: str, *, store: str, into: str, columns: Sequence[str] | None = None, as_text: Sequence[str] = ()
    ):
        self.of = of
        self.store = store
        self.into = into
        self.columns = None if columns is None else tuple(columns)
        self.as_text = tuple(as_text)

    @property
    def name(self) -> str:
        """How commands and the bookkeeping call it."""
        return f"{self.store}.{self.into}"

    def __repr__(self) -> str:
        return f"Replica({self.of!r}, store={self.store!r}, into={self.into!r})"


def find_replica_mistakes(replicas: Sequence[Replica], of: Sequence[Projection]) -> list[str]:
    """Everything wrong with the replicas of these projections, one sentence each."""
    if not replicas:
        return []
    stores = settings().STORES
    mistakes = find_store_mistakes(stores)
    projections = {projection.into: projection for projection in of}
    for replica in replicas:
        where = repr(replica)
        if replica.store not in stores:
            mistakes.append(
                f"{where}: there is no store {replica.store!r} in MIGRATION_TOOLS['STORES']"
                f"{nearest(replica.store, stores)}"
            )
        projection = projections.get(replica.of)
        if projection is None:
            mistakes.append(f"{where}: no projection goes into {replica.of!r}{nearest(replica.of, projections)}")
            continue
        known = [*projection.key, *projection.columns]
        mistakes += [
            f"{where}: column {name!r} is made by a Transform, which a replica cannot have; leave it out with columns=…"
            for name in (replica.columns if replica.columns is not None else projection.columns)
            if isinstance(projection.columns.get(name), Transform)
        ]
        mistakes += [
            f"{where}: {replica.of!r} has no column {name!r}{nearest(name, known)}"
            for name in (*(replica.columns or ()), *replica.as_text)
            if name not in known
        ]
        mistakes += [
            f"{where}: {name!r} is of the key, which keeps its type; leave it out of as_text"
            for name in replica.as_text
            if name in projection.key
        ]
    names = [replica.name for replica in replicas]
    mistakes += [f"two replicas are called {name!r}" for name in dict.fromkeys(names) if names.count(name) > 1]
    return mistakes
