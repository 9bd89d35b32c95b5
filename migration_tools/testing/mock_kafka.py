"""Kafka for tests without Java: librdkafka's mock cluster in a process of its own, on a port that outlives a kill."""

import os
import struct
import subprocess
import sys
import threading

from migration_tools.testing.brokers import EmbeddedBroker
from migration_tools.testing.deaf_proxy import DeafProxy

API_VERSIONS = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""The request that every Kafka answers to everybody: length, kind, version, number, no name."""


class EmbeddedKafka(EmbeddedBroker):
    """One broker that speaks Kafka's protocol and keeps everything in memory: a restart forgets topics and offsets.

    No authentication, no replicas, topics of four partitions made when asked for. What only a real cluster can show
    (elections, retention, access rules) it cannot.
    """

    name = "kafka"
    advertised = True

    def url_at(self, port: int) -> str:
        """See EmbeddedBroker."""
        return f"kafka://127.0.0.1:{port}"

    def _launch(self) -> subprocess.Popen[bytes]:
        code = f"from {__name__} import serve; serve({self.port})"
        # It runs in a directory of its own and must find what we found.
        return self._spawn([sys.executable, "-c", code], {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})

    def _answers(self) -> bool:
        return self._exchange(API_VERSIONS)[4:8] == b"\0\0\0\1"


def serve(port: int) -> None:
    """Run a mock cluster behind a port until killed; the client that it lives in finds the real one."""
    from confluent_kafka import Producer

    cluster = Producer({"test.mock.num.brokers": 1})
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    with DeafProxy(broker.port, port=port, advertised=True):
        threading.Event().wait()
