"""The neighbours of a live copy: a writer, the relay and the consumer, in a process of their own."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.arena import SOURCE, Arena

ROWS_A_STATEMENT = 10
STATEMENTS_A_SECOND = 50
SHARE_INSERTED = 5


@dataclass
class Neighbours:
    """What they did; known after they ended."""

    written: int = 0


@contextmanager
def running(arena: Arena) -> Iterator[Neighbours]:
    """Write, number and apply in a child process for the block, 500 rows a second."""
    child = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.live", str(arena.rows)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=arena.environment(),
    )
    assert child.stdout is not None  # noqa: S101  (a pipe was asked for)
    found = Neighbours()
    try:
        if child.stdout.readline().strip() != "ready":
            raise RuntimeError("the live neighbours did not start; their message is above")
        yield found
    finally:
        output, _ = child.communicate("stop\n", timeout=60)
    found.written = int(output.split()[-1])


def main(rows: int) -> None:
    """Run until a line arrives on stdin, then print how many rows were written."""
    import django

    django.setup()
    from django.db import connections

    from benchmarks.feed import DirectFeed
    from migration_tools.capture.projector import RelationProjector
    from migration_tools.messaging.consumer import Consumer
    from migration_tools.messaging.relay import Relay
    from migration_tools.transfer.sync import TableWriter

    stop = threading.Event()
    feed = DirectFeed("bench")
    consumer = Consumer("bench", feed, TableWriter(), using="service")
    threads = [
        threading.Thread(target=work, args=(stop,))
        for work in (Relay("bench", RelationProjector(), alias="default").run, consumer.run)
    ]
    for thread in threads:
        thread.start()
    written = [0]
    writer = threading.Thread(target=_write, args=(rows, stop, written))
    writer.start()
    print("ready", flush=True)
    sys.stdin.readline()
    stop.set()
    for thread in (writer, *threads):
        thread.join()
    feed.close()
    connections.close_all()
    print(written[0], flush=True)


def _write(rows: int, stop: threading.Event, written: list[int]) -> None:
    """Update runs of orders all over the table and insert a few, at a steady rate."""
    from migration_tools.stores.postgres import connect

    started = time.monotonic()
    done = 0
    with connect("default", "writer") as conn:
        while not stop.wait(max(started + done / STATEMENTS_A_SECOND - time.monotonic(), 0)):
            first = 1 + done * 7919 % rows
            if done % SHARE_INSERTED:
                cursor = conn.execute(
                    f"UPDATE {SOURCE} SET status = 'paid', updated_at = clock_timestamp() WHERE id BETWEEN %s AND %s",
                    [first, first + ROWS_A_STATEMENT - 1],
                )
            else:
                cursor = conn.execute(
                    f"""INSERT INTO {SOURCE} (public_id, customer_id, status, total, currency, client_reference,
                            shipping_address, placed_at, weight, gift)
                        SELECT gen_random_uuid(), 1, 'placed', 1, 'EUR', 'live', '{{}}', now(), 1, false
                        FROM generate_series(1, %s)""",
                    [ROWS_A_STATEMENT],
                )
            written[0] += cursor.rowcount
            done += 1


if __name__ == "__main__":
    main(int(sys.argv[1]))
