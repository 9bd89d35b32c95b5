"""The domain logic of the stock, in the engine that `INVENTORY_STORE_ENGINE` names; see ports.py for what it does."""

import threading

from django.conf import settings

from .ports import Keeper, NoReservation, OtherReservation, TooFew

__all__ = ["NoReservation", "OtherReservation", "TooFew", "answers", "keeper"]

_opening = threading.Lock()
_opened: list[Keeper] = []


def keeper() -> Keeper:
    """Who keeps the stock in this process: one for all threads, opened when it is first needed.

    Raises:
        StoreAway: the engine does not answer.
    """
    with _opening:
        if not _opened:
            _opened.append(_open())
        return _opened[0]


def answers() -> None:
    """Return if the stock can be asked now; raise StoreAway if not."""
    keeper().answers()


def _open() -> Keeper:
    if settings.STOCK_ENGINE == "mongodb":
        # Here, because only who keeps documents needs their driver.
        from .documents.keeper import Documents

        return Documents(settings.STOCK_URL)
    from .rows import Rows

    return Rows()
