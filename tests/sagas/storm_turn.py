"""What a service does in a turn of the storm: customers, relay, consumers, runner, operators, in an order by chance."""

import logging
import random
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection, connections, transaction
from django.db.utils import Error as DatabaseFailure
from django.test import override_settings

from migration_tools.capture.projector import RelationProjector
from migration_tools.errors import PastPivot, SagaError, StrangleError
from migration_tools.kernel import points
from migration_tools.messaging.consumer import Consumer
from migration_tools.messaging.dead_letters import parked_keys, replay
from migration_tools.messaging.groups import inbox_name
from migration_tools.messaging.handlers import registered
from migration_tools.messaging.handling import HandlerFailed, handle
from migration_tools.messaging.inbox import positions
from migration_tools.messaging.relay import tick
from migration_tools.sagas import orchestrator
from migration_tools.sagas.decisions import Direction
from migration_tools.sagas.participant import participants
from migration_tools.sagas.runner import Runner
from migration_tools.stores.postgres import Connection, connect, django_connection, errors
from tests.sagas.storm_feed import AS_IT_IS, Broker, Feed

log = logging.getLogger(__name__)

# The group whose handlers are steps of sagas: they keep what was done, and so may hear anything at any time.
SAGAS = "checkout"
# A checkout is made and its customer not told yet.
UNTOLD = "storm.untold"
# In a part of the doings a part of the writes fails.
TROUBLED, FAILING = 0.3, 0.12
AWAY = (DatabaseFailure, errors.Error, OSError, StrangleError)
OPEN = "SELECT saga_id::text FROM saga_state WHERE status IN ('running', 'compensating') ORDER BY created_at"
# The storm is the clock: what it says is due, and nothing else is.
CLOCK = """UPDATE saga_state SET wake_at = clock_timestamp() + make_interval(secs => CASE
        WHEN saga_id::text = ANY (%s) THEN -1 ELSE 3600 END)
    WHERE wake_at IS NOT NULL AND status IN ('running', 'compensating')"""

Tell = Callable[..., None]


class Service:
    """A life of one service; everything it knows it reads from its database."""

    def __init__(self, name: str, dsns: dict[str, str], dice: random.Random, tell: Tell) -> None:
        self.name, self.dice, self.tell = name, dice, tell
        self.feeds = {
            (each.stream, each.group): Feed(dsns[each.stream], each.stream)
            for each in registered()
            if each.group and each.stream in dsns and each.stream != name
        }
        self.consumers: dict[tuple[str, str], Consumer] = {}
        self.relay: Connection | None = None
        self.troubled = False

    def take(self, turn: dict[str, Any]) -> None:
        """Do everything once, or in a storm some of it by chance."""
        self.calm = bool(turn["calm"])
        for (stream, _), feed in self.feeds.items():
            feed.upto = turn["heads"][stream]
        for each in self.limits(turn) + self.doings(turn):
            self.attempt(each)

    def attempt(self, doing: Callable[[], None]) -> None:
        """Do something; a database that ended the session is met with a fresh one, as a worker would that starts."""
        try:
            self._trouble(not self.calm and self.dice.random() < TROUBLED)
            doing()
        except (*AWAY, HandlerFailed) as error:
            log.info("%s: %s", doing, error)
            self.consumers.clear()
            connections.close_all()
            self.troubled = False
            if self.relay is not None:
                self.relay.close()

    def _trouble(self, wanted: bool) -> None:
        """Have writes fail in this session, or none."""
        if wanted or self.troubled:
            with connection.cursor() as cursor:
                share = str(FAILING if wanted else 0)
                cursor.execute("SELECT set_config('storm.fails', %s, false), setseed(%s)", [share, self.dice.random()])
        self.troubled = wanted

    def doings(self, turn: dict[str, Any]) -> list[Callable[[], None]]:
        """What this turn consists of."""
        hear = [lambda key=key: self.consume(*key) for key in sorted(self.feeds)]
        if self.calm:
            wake = [self.wake] if self.name == "orders" else []
            return [self.replay, *hear, *wake, self.number]
        found = [self.replay, self.number, self.number, self.overtake]
        if not turn["deaf"]:
            found += [*hear, *hear]
        found += [lambda key=key: self.again(*key) for key in sorted(self.feeds)]
        if self.name == "orders":
            found += [self.wake, self.wish, self.withdraw]
            found += [lambda cart=cart: self.buy(cart) for cart in turn["carts"]]
        self.dice.shuffle(found)
        return found

    def limits(self, turn: dict[str, Any]) -> list[Callable[[], None]]:
        """Payers who may pay so many cents and no more, told of in the first turn."""
        return [lambda payer=payer, most=most: self.limit(int(payer), most) for payer, most in turn["limits"].items()]

    def limit(self, payer: int, cents: int) -> None:
        """Say how much somebody may pay."""
        from extracted_services.payments import ledger

        with transaction.atomic():
            ledger.enter(payer, lambda account: account.limit(ledger.amount(cents)))

    # Messages.

    def number(self) -> None:
        """A tick of the relay."""
        if self.relay is None or self.relay.closed:
            self.relay = connect("default", "storm relay")
        tick(self.relay, self.name, RelationProjector())

    def consume(self, stream: str, group: str) -> None:
        """Some batches of a stream to a group, by a broker that may do anything, or all by the feed."""
        key = (stream, group)
        feed, inbox = self.feeds[key], inbox_name(stream, group)
        if key not in self.consumers:
            self.consumers[key] = Consumer(stream, feed, None, group=group)
        consumer = self.consumers[key]
        feed.most = AS_IT_IS if self.calm else self.dice.choice((1, 8, 40))
        consumer.subscription = None if self.calm else Broker(feed, lambda: self._at(inbox), self.dice)
        for _ in range(1_000 if self.calm else self.dice.randint(1, 5)):
            if consumer.step(0) >= feed.upto:
                return

    def again(self, stream: str, group: str) -> None:
        """Events come once more, or those of a saga before their time: at any rate out of their order."""
        feed, at = self.feeds[stream, group], self._at(inbox_name(stream, group))
        last = feed.upto if group == SAGAS else at
        if not last:
            return
        for _ in range(self.dice.randint(1, 6)):
            self._hear(feed, group, self.dice.randrange(max(0, at - 30) if self.dice.random() < 0.8 else 0, last))

    def overtake(self) -> None:
        """A compensation comes before the command that it undoes."""
        for (stream, group), feed in sorted(self.feeds.items()):
            undoing = {each.command for each in participants() if each.direction is Direction.UNDO}
            for position in feed.places(undoing, after=self._at(inbox_name(stream, group))):
                if group == SAGAS and self.dice.random() < 0.5:
                    self._hear(feed, group, position - 1)

    def _hear(self, feed: Feed, group: str, after: int) -> None:
        """Handle the event that follows a position, whatever the inbox says of it."""
        feed.most = 1
        for event in feed.fetch(after=after, limit=1, wait_seconds=0).events:
            if event.position == after + 1:
                with transaction.atomic():
                    handle(event, group)

    def replay(self) -> None:
        """An operator has everything that was parked handled anew."""
        for stream, group in sorted(self.feeds):
            inbox = inbox_name(stream, group)
            for key in sorted(parked_keys(django_connection("default"), inbox)):
                replay(inbox, key, using="default", reason="the storm is over" if self.calm else "perhaps now")

    def _at(self, inbox: str) -> int:
        return positions(django_connection("default"), inbox)[0]

    # What the orders service does of itself.

    def buy(self, cart: dict[str, Any]) -> None:
        """A customer's wish; acknowledged as soon as it is committed."""
        from extracted_services.orders import sagas
        from extracted_services.orders.purchase import Line, Purchase

        wanted = Purchase(
            customer_id=cart["customer"],
            customer_name="Ada",
            lines=[Line(product=product, quantity=quantity) for product, quantity in cart["lines"]],
            shipping_address={"city": "Graz"},
        )
        with override_settings(CHECKOUT=cart["kind"]):
            made = sagas.buy(wanted)
        points.reached(UNTOLD)
        self.tell(acknowledged=str(made.public_id), kind=cart["kind"])

    def wake(self) -> None:
        """The clock runs out for some sagas, or for all that are open."""
        due = [saga for saga in self._open() if self.calm or self.dice.random() < 0.08]
        with connection.cursor() as cursor:
            cursor.execute(CLOCK, [due])
        Runner().step()

    def wish(self) -> None:
        """An operator interferes with a saga."""
        for saga in self._some(self._open()):
            try:
                if self.dice.random() < 0.5:
                    orchestrator.compensate(saga, reason="a whim")
                else:
                    orchestrator.retry(saga, reason="a whim")
            except (PastPivot, SagaError):
                continue

    def withdraw(self) -> None:
        """A customer thinks better of it."""
        from extracted_services.orders import checkout
        from extracted_services.orders.models import Checkout, CheckoutState

        pending = Checkout.objects.filter(state=CheckoutState.PENDING).order_by("opened_at")
        for made in self._some(list(pending)):
            checkout.withdraw(made.customer_id, made.public_id)
            self.tell(withdrawn=str(made.public_id))

    def _open(self) -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute(OPEN)
            return [row[0] for row in cursor.fetchall()]

    def _some(self, found: Sequence[Any]) -> list[Any]:
        return self.dice.sample(list(found), min(len(found), self.dice.randint(0, 3)))
