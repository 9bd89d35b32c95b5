"""One of the three services as a process of its own: its feed, its relay, its consumers, and the runner of the orders.

`python -m tests.sagas.host` runs until it is killed; `… begin SAGA_ID FROM TO` begins a transfer and ends.
"""

import os
import sys
import threading
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import django


class Server(ThreadingMixIn, WSGIServer):
    """A thread a request: feeds wait."""

    daemon_threads = True


class Quiet(WSGIRequestHandler):
    """Says nothing of each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def serve(service: str) -> None:
    """Run everything that the service consists of."""
    from django.conf import settings as django_settings
    from django.core.wsgi import get_wsgi_application

    from migration_tools.capture.projector import RelationProjector
    from migration_tools.messaging.consumer import Consumer
    from migration_tools.messaging.relay import Relay
    from migration_tools.messaging.transports import open_feed
    from migration_tools.sagas.runner import Runner
    from tests.sagas.tables import SERVICES, STREAMS

    stop = threading.Event()
    works = [Relay(STREAMS[service], RelationProjector()).run]
    for other in SERVICES:
        if other != service:
            feed = open_feed(STREAMS[other], service)
            works.append(Consumer(STREAMS[other], feed, None, group=service).run)
    if service == "orders" and "SAGA_BROKER_URL" not in os.environ:
        works.append(Runner().run)
    for work in works:
        threading.Thread(target=work, args=(stop,), daemon=True).start()
    port = django_settings.PORTS[service]
    with make_server("127.0.0.1", port, get_wsgi_application(), Server, Quiet) as server:
        print("serving", flush=True)
        server.serve_forever()


def begin(saga_id: str, source: str, target: str) -> None:
    """Begin a transfer in one transaction."""
    import uuid

    from django.db import transaction

    from migration_tools.sagas.orchestrator import start
    from tests.sagas import services

    with transaction.atomic():
        payload = {"from": source, "to": target, "amount": 100}
        start(services.SHOP_TRANSFER, payload, saga_id=uuid.UUID(saga_id))


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.sagas.host_settings"
    django.setup()
    import tests.sagas.services  # noqa: F401  (declares what the service does)

    if sys.argv[1:2] == ["begin"]:
        begin(*sys.argv[2:])
    else:
        serve(os.environ["SAGA_SERVICE"])
