"""Give a batch of open orders a new note, and ship the old paid ones, by bulk ORM writes."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from legacy_monolith.orders.jobs import bulk_update_orders


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=200, help="change at most this many orders")
        parser.add_argument("--seed", type=int, default=1, help="chooses the orders and the note")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        changes = bulk_update_orders(options["limit"], options["seed"])
        if options["format"] == "json":
            self.stdout.write(json.dumps([change.as_dict() for change in changes]))
        else:
            self.stdout.write(f"changed the notes of {len(changes)} open orders")
