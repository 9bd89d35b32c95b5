"""Customers of a sharded shop: threads that buy until they are stopped, and what was acknowledged to them."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db import connections

JOIN_SECONDS = 90


def execute(alias: str, query: str, *args: Any) -> list[tuple[Any, ...]]:
    with connections[alias].cursor() as cursor:
        cursor.execute(query, args)
        return list(cursor.fetchall()) if cursor.description else []


@contextmanager
def shopping(keys: Sequence[str], buy: Callable[[str, str], Any], count: int) -> Iterator[list[tuple[str, str]]]:
    """`count` threads that `buy(key, number)` without a pause; the list holds every acknowledged purchase."""
    stop, acknowledged, failures = threading.Event(), [], []

    def work(worker: int) -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                key, purchase = keys[(worker * 7 + number) % len(keys)], f"p{worker}-{number}"
                buy(key, purchase)
                acknowledged.append((key, purchase))
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged
    finally:
        stop.set()
        for thread in threads:
            thread.join(JOIN_SECONDS)
    assert failures == []
    assert not any(thread.is_alive() for thread in threads), "a customer still waits"
