"""Fill an empty shop with deterministic data: the same seed makes the same rows."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from legacy_monolith.seed import ShopNotEmpty, seed_shop


class Command(BaseCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--orders", type=int, default=50_000, help="how many orders to make")
        parser.add_argument("--seed", type=int, default=7, help="chooses the data")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["orders"] < 0:
            raise CommandError(f"--orders is {options['orders']!r}; give 0 or more", returncode=2)
        try:
            seeded = seed_shop(options["orders"], options["seed"])
        except ShopNotEmpty as error:
            raise CommandError(str(error)) from error
        if options["format"] == "json":
            self.stdout.write(json.dumps(asdict(seeded)))
        else:
            self.stdout.write(
                f"made {seeded.orders} orders with {seeded.lines} lines for {seeded.users} users, "
                f"{seeded.products} products, {seeded.payments} payments and {seeded.movements} movements "
                f"of seed {seeded.seed} in {seeded.seconds:.1f} s; "
                f"log in as shopper1@example.com with {seeded.password!r}"
            )
