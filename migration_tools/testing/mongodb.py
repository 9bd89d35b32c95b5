"""A server for tests that speaks MongoDB's protocol: BriskDB, in a process of its own, killable, durable.

BriskDB is not MongoDB. What it cannot show: transactions, change streams, replica sets and their elections, users and
rights, and where MongoDB takes or answers something else. It has eight sockets, so its URL tells drivers to hold few,
and drivers from pymongo 4.18 on greet it with words that it refuses.
"""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import briskdb
import pymongo
from pymongo.errors import PyMongoError

from migration_tools.testing.brokers import EmbeddedBroker
from migration_tools.testing.postgres import fleeting_directory

DATABASE = "shop"
# Each process has a socket that watches the server and one that asks.
FEW_SOCKETS = "directConnection=true&serverMonitoringMode=poll&maxPoolSize=1"
SHARDS = 2


class EmbeddedMongo(EmbeddedBroker):
    """One server on 127.0.0.1; its documents and its port outlive `kill()` and `start()`."""

    name = "mongodb"

    def __init__(self, directory: Path | None = None):
        super().__init__(directory or fleeting_directory("mongodb"))

    def url_at(self, port: int) -> str:
        """What the store's URL is; four processes may hold it at a time."""
        return f"mongodb://127.0.0.1:{port}/{DATABASE}?{FEW_SOCKETS}"

    def _launch(self) -> subprocess.Popen[bytes]:
        data = str(self.directory / "data")
        # From wherever this package is imported; the process itself works in its own directory.
        env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        return self._spawn([sys.executable, "-m", "migration_tools.testing.mongodb", data, str(self.port)], env)

    def _answers(self) -> bool:
        client: pymongo.MongoClient[dict[str, object]] = pymongo.MongoClient(self.url, serverSelectionTimeoutMS=200)
        try:
            client.admin.command("ping")
        except PyMongoError:
            return False
        finally:
            client.close()
        return True


def serve(directory: str, port: int) -> None:
    """Answer until SIGTERM."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    made = None if Path(directory).exists() else SHARDS
    with (
        briskdb.open(directory, config=briskdb.Config(shards=made, documents=True)) as database,
        database.serve(mongo=f"127.0.0.1:{port}"),
    ):
        ended.wait()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
