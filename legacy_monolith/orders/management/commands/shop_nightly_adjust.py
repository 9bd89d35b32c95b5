"""Give a batch of orders a new discount by raw SQL behind the ORM's back."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from legacy_monolith.orders.jobs import raw_adjust_orders


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=200, help="change at most this many orders")
        parser.add_argument("--seed", type=int, default=1, help="chooses the orders and the discount")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        changes = raw_adjust_orders(options["limit"], options["seed"])
        if options["format"] == "json":
            self.stdout.write(json.dumps([change.as_dict() for change in changes]))
        else:
            self.stdout.write(f"changed the discount of {len(changes)} orders")
