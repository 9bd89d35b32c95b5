"""What nobody came back for: promises that were cut off while they were made or ended, given back."""

import datetime as dt
import uuid
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone

from migration_tools.conf import settings
from migration_tools.sagas.admission import Stored
from migration_tools.sagas.decisions import Direction
from migration_tools.sagas.models import SagaStep
from migration_tools.sagas.participant import claim, release
from migration_tools.stores.mongodb_client import answering

from .guard import refuse_on_its_way
from .keeper import Documents
from .promises import HELD, RELEASED, TAKING, Document

STEP = "reserve"
"""The step of both kinds of checkout that promises products."""


@dataclass(frozen=True, kw_only=True)
class Swept:
    """How many were found of each kind."""

    given_up: int
    unanswered: int
    left_over: int

    def __bool__(self) -> bool:
        return any((self.given_up, self.unanswered, self.left_over))


def sweep(documents: Documents, older_than: dt.timedelta) -> Swept:
    """Give back, of promises that were begun so long ago, what is in nobody's hands any more.

    `given_up`: begun and never held, and not asked for again. `unanswered`: held for an order, and the saga's step is
    not there in PostgreSQL: its transaction was lost, and no repetition came. `left_over`: under a dead key in a
    product's document, however young. May run beside everything else, and beside itself.

    Raises:
        StoreAway: MongoDB does not answer, or a playbook forbids documents; what was given back stays so.
    """
    refuse_on_its_way()
    promises, before = documents.promises, timezone.now() - older_than
    with answering():
        given_up = sum(promises.withdraw(each) for each in list(promises.begun_before(before, TAKING)))
        held = [each for each in promises.begun_before(before, HELD) if each["order"]]
        unanswered = sum(_take_back(documents, each) for each in held)
        left_over = 0
        for product, key, quantity in list(documents.shelves.held()):
            if not promises.is_alive(key):
                left_over += documents.shelves.let_go(product, key, quantity)
    return Swept(given_up=given_up, unanswered=unanswered, left_over=left_over)


def _take_back(documents: Documents, held: Document) -> bool:
    """End an order's promise if no step of its saga says that it is made; waits for one that is just making it."""
    using, saga = settings().DATABASE, str(uuid.UUID(held["order"]))
    with transaction.atomic(using=using):
        doing, _, _ = claim(using, saga, STEP, Direction.DO, Stored.VOID)
        undone = SagaStep.objects.using(using).filter(saga_id=saga, step=STEP, direction=Direction.UNDO.value).exists()
        if doing is Stored.DONE and not undone:
            return False
        documents.promises.end(held, RELEASED)
        if doing is None:
            # Whoever brings the command again begins anew.
            release(using, saga, STEP, Direction.DO)
    return True
