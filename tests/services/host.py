"""An extracted service as one process: its API and feed, its relay, each group of its handlers, its sagas' runner.

`python -m tests.services.host NAME` serves where `<NAME>_ADDRESS` says, until it is killed.
"""

import os
import sys
import threading
from collections.abc import Callable
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server


class Server(ThreadingMixIn, WSGIServer):
    """A thread a request: feeds wait."""

    daemon_threads = True
    request_queue_size = 100


class Quiet(WSGIRequestHandler):
    """Says nothing of each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def serve(name: str) -> None:
    """Run everything that the service consists of."""
    from django.core.wsgi import get_wsgi_application

    application = get_wsgi_application()

    from migration_tools.capture.projector import RelationProjector
    from migration_tools.conf import settings
    from migration_tools.messaging.consumer import Consumer
    from migration_tools.messaging.handlers import registered
    from migration_tools.messaging.relay import Relay
    from migration_tools.messaging.transports import open_feed, open_publisher, open_subscription
    from migration_tools.sagas.registry import declared
    from migration_tools.sagas.runner import Runner

    stop = threading.Event()
    works: list[Callable[[threading.Event], None]] = [
        Relay(name, RelationProjector(), publisher=open_publisher(name)).run
    ]
    for stream, group in sorted({(each.stream, each.group) for each in registered() if each.group}):
        if stream in settings().FEEDS:
            feed, heard = open_feed(stream, group), open_subscription(stream, stream, group)
            works.append(Consumer(stream, feed, None, subscription=heard, group=group).run)
    if any(True for _ in declared()):
        works.append(Runner().run)
    for work in works:
        threading.Thread(target=work, args=(stop,), daemon=True).start()
    port = int(os.environ["SERVED_PORT"])
    with make_server("127.0.0.1", port, application, Server, Quiet) as server:
        server.serve_forever()


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = f"extracted_services.{sys.argv[1]}.settings"
    serve(sys.argv[1])
