"""The service that moves customers between regions: its relay, its consumer and its runner, as threads or as a process.

`python -m tests.sharding.relocation_host` with REGIONAL_DATABASES works until it is killed.
"""

import json
import os
import threading
from collections.abc import Callable
from contextlib import ExitStack

STREAM = "homes"


def work_until(stop: threading.Event, alias: str) -> None:
    """Relay, consume and wake until told to stop."""
    from django.db import connections

    from migration_tools.capture.projector import RelationProjector
    from migration_tools.messaging.consumer import Consumer
    from migration_tools.messaging.relay import Relay
    from migration_tools.sagas.runner import Runner
    from tests.stage import DirectFeed

    feed = DirectFeed(alias, STREAM, STREAM)
    works = (Relay(STREAM, RelationProjector()).run, Consumer(STREAM, feed, None, using=alias, group=STREAM).run)

    def until_stopped(work: Callable[[threading.Event], None]) -> None:
        try:
            work(stop)
        finally:
            connections.close_all()

    with ExitStack() as stack:
        stack.callback(feed.close)
        for each in (*works, Runner(using=alias).run):
            thread = threading.Thread(target=until_stopped, args=(each,), daemon=True)
            thread.start()
            stack.callback(thread.join, 30)
        stop.wait()


if __name__ == "__main__":
    import django
    from django.conf import settings

    os.environ["DJANGO_SETTINGS_MODULE"] = "extracted_services.orders.settings"
    given = json.loads(os.environ["REGIONAL_DATABASES"])
    settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "migration_tools.sharding"]
    settings.DATABASES = {
        alias: {**settings.DATABASES["default"], **each} for alias, each in given["databases"].items()
    }
    settings.MIGRATION_TOOLS = {**settings.MIGRATION_TOOLS, "DATABASE": "home", "SHARDS": given["shards"]}
    django.setup()
    import tests.sharding.relocation  # noqa: F401  (declares the saga)

    work_until(threading.Event(), "home")
