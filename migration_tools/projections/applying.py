"""Apply an event to a read model, inside the transaction that moves the inbox: what `handles` calls.

Note [one writer a group]. A row that is copied from another, and a list of rows that name it, are read and written in
one transaction. With two streams, two consumers do so at once, and at READ COMMITTED each may miss what the other has
not committed: an order that takes the old name while the customer is renamed keeps it for ever. So whoever writes read
models of a group holds one lock until commit. It serialises the consumers of the group's streams, which share those
tables anyway, and nothing else: readers never wait, and other groups go on. The swap of a rebuild takes the same lock,
so no event is between the old tables and the new ones.
"""

from migration_tools.conf import settings
from migration_tools.kernel.locks import LockClass
from migration_tools.messaging.envelope import Envelope
from migration_tools.projections import slots
from migration_tools.projections.declaration import ReadModel, Taken
from migration_tools.projections.elsewhere import opened
from migration_tools.projections.tokens import note_token
from migration_tools.projections.writing import SlotWriter
from migration_tools.stores.postgres import Connection, advisory, django_connection


def apply(model: ReadModel, taken: Taken, event: Envelope, number: int | None = None) -> None:
    """Apply an event to the live slot of a read model, or to the slot `number` that is being built.

    Call inside the transaction of the inbox. Applying it again, or after a later one, changes nothing.

    Raises:
        StrangleError: the read model has no tables here, or the event says what they cannot hold.
    """
    conn = django_connection(settings().DATABASE)
    building = number is not None
    if not building:
        advisory.take(conn, LockClass.READ_MODELS, model.of_group())
    slot = slots.slot_of(conn, model.name, number)
    changes = model.changes(taken, event)
    if changes:
        position = slots.version_of(conn, slot, stream=event.stream, origin=event.origin, position=event.position)
        if model.store:
            with opened(model) as rows:
                rows.apply(slot, changes, stream=event.stream, position=position, shown=not building)
        else:
            SlotWriter(conn, model, slot).apply(changes, stream=event.stream, position=position)
    if not building and event.correlation_id:
        note_token(conn, model.of_group(), event)


def hold(conn: Connection, model: ReadModel) -> None:
    """Keep every writer of the model's group out until the running transaction ends."""
    advisory.take(conn, LockClass.READ_MODELS, model.of_group())
