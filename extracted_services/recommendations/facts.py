"""What is kept of orders: who bought what, what was paid, what was cancelled; and the questions asked of it.

Note [facts, not sums]. What an event says is written under a key of its own and never changed, so that an event that is
delivered twice, late, or again after a crash writes what is there. Nothing is counted while writing: a sum is asked for
when somebody wants it, over facts of which there is one each.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Protocol, cast

from migration_tools.conf import settings
from migration_tools.errors import SettingsError

STORE = "facts"
# Named, not imported: only who keeps facts in an engine needs its driver.
ENGINES = {
    "clickhouse": "fact_rows:FactRows",
    "chdb": "fact_rows:FactRows",
    "mongodb": "fact_documents:FactDocuments",
}


class Facts(Protocol):
    """Facts in one engine. Every call raises StoreAway while it does not answer; an event is then taken again."""

    def placed(self, order: str, customer: int, lines: Sequence[Mapping[str, int]]) -> None:
        """Keep who bought what: `product` and `quantity` of each line."""
        ...

    def paid(self, order: str, day: dt.date, amount: str) -> None:
        """Keep what was taken in, and on which day."""
        ...

    def cancelled(self, order: str, day: dt.date) -> None:
        """Keep that an order counts for nothing, paid before or after."""
        ...

    def together(self, customer: int, at_most: int) -> Iterable[tuple[int, int]]:
        """(product, in how many orders that have something the customer bought), without what they bought themselves.

        The most frequent come first, of equally frequent ones the lower number.
        """
        ...

    def revenue(self, first: dt.date, last: dt.date) -> Iterable[tuple[dt.date, int, str]]:
        """(day, orders, amount) of days on which something was paid that is not cancelled, by day."""
        ...


def chosen() -> Facts:
    """The facts in the engine that the settings name; nothing is opened yet.

    Raises:
        SettingsError: facts cannot be kept in it.
    """
    engine = settings().STORES.get(STORE, {}).get("ENGINE")
    if engine not in ENGINES:
        raise SettingsError(
            f"RECOMMENDATIONS_STORE_ENGINE is {engine!r}, where no facts are kept; set it to one of {sorted(ENGINES)}"
        )
    module, _, kind = ENGINES[engine].partition(":")
    return cast(Facts, getattr(import_module(f".{module}", __package__), kind)())


FACTS = chosen()
