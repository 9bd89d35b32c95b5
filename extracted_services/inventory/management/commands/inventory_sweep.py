"""Give back what promises that were cut off left in the documents of the stock."""

import datetime as dt
import json
import threading
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connection

from migration_tools.errors import StoreError
from migration_tools.management.signals import heed_signals
from migration_tools.stores.postgres.patience import waited_for


class Command(BaseCommand):
    """Once, or with `--every` until SIGTERM; it may run anywhere, and twice. A stock in rows needs none."""

    help = "Give back what was promised by processes that died. Example: inventory_sweep --every 60"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--every", type=float, help="sweep again every so many seconds, until SIGTERM")
        parser.add_argument(
            "--older-than", type=float, default=300.0, help="seconds since a promise was begun (%(default)s)"
        )
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.STOCK_ENGINE != "mongodb":
            raise CommandError("the stock is in PostgreSQL's rows, which leave nothing to sweep")
        stop = threading.Event()
        with heed_signals(stop):
            if options["every"] is None:
                try:
                    self._sweep(options)
                except StoreError as error:
                    raise CommandError(str(error)) from error
            while options["every"] is not None and not stop.is_set():
                with waited_for("default", stop, "inventory_sweep"):
                    try:
                        self._sweep(options)
                    except StoreError as error:
                        self.stderr.write(f"not swept: {error}")
                    stop.wait(options["every"])

    def _sweep(self, options: dict[str, Any]) -> None:
        from extracted_services.inventory.documents.keeper import Documents
        from extracted_services.inventory.documents.sweep import sweep

        try:
            documents = Documents(settings.STOCK_URL)
            try:
                swept = sweep(documents, dt.timedelta(seconds=options["older_than"]))
            finally:
                documents.close()
        finally:
            # Between two rounds it holds no connection to anybody.
            connection.close()
        if options["format"] == "json":
            self.stdout.write(json.dumps(asdict(swept)))
        elif swept or options["every"] is None:
            self.stdout.write(
                f"given back: {swept.given_up} begun and never held, {swept.unanswered} of orders whose step is not "
                f"there, {swept.left_over} left in products' documents"
            )
