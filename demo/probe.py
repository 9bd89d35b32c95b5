"""The probe: light clients that write back to back, so that a cutover's gap shows in milliseconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from demo.browser import RequestFailed
from demo.shoppers import Shop

BREATH_SECONDS = 0.01
"""Between two writes of one probe: fine enough to measure, and leaves the processors some room."""

WRITES_PER_CUSTOMER = 3000


class Probe(threading.Thread):
    """Buys, pays and ships without reading, while ``active`` is set."""

    def __init__(self, shop: Shop, number: int, active: threading.Event) -> None:
        super().__init__(name=f"probe-{number}", daemon=True)
        self._shop = shop
        self._number = number
        self._active = active

    def run(self) -> None:
        generation = 0
        while not self._shop.stopping.is_set():
            generation += 1
            customer = self._shop.customer(f"p{self._number}", generation)
            try:
                customer.sign_up()
                customer.browse()
                for _ in range(WRITES_PER_CUSTOMER // 3):
                    while not self._active.wait(0.05):
                        if self._shop.stopping.is_set():
                            return
                    order = customer.purchase()
                    for operation in ("pay", "ship"):
                        if order is None or self._shop.stopping.wait(BREATH_SECONDS):
                            break
                        order = customer.move(operation, order)
                    self._shop.stopping.wait(BREATH_SECONDS)
            except RequestFailed:
                self._shop.stopping.wait(0.5)
            except Exception as error:
                self._shop.tally.failure(
                    who=customer.name,
                    request="probe",
                    expected="no exception in the probe",
                    status=None,
                    detail=repr(error),
                )
                self._shop.stopping.wait(0.5)
            finally:
                customer.close()


@contextmanager
def probing(active: threading.Event) -> Iterator[None]:
    """Let the probes write for the length of the block."""
    active.set()
    try:
        yield
    finally:
        active.clear()
