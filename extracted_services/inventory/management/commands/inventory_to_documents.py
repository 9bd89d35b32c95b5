"""Carry the stock out of PostgreSQL's rows into MongoDB's documents."""

import json
from dataclasses import asdict
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from extracted_services.inventory.documents.carrying import carry
from migration_tools.errors import StoreError


class Command(BaseCommand):
    """As the owner role, with the service's processes stopped; repeated, it changes nothing. There is no way back."""

    help = "Copy stock, movements and reservations into documents, compare the sums, put the rows away."
    # What this mends is among them.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--dry-run", action="store_true", help="say what would be carried; touch nothing")
        parser.add_argument("--format", choices=["text", "json"], default="text")

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.STOCK_ENGINE != "mongodb":
            raise CommandError(
                "INVENTORY_STORE_ENGINE is 'postgresql'; set it to 'mongodb' (or SERVICES_DATABASE_MODE=polyglot) and "
                "INVENTORY_STORE_URL, then run this again"
            )
        try:
            sums = carry(settings.STOCK_URL, dry_run=options["dry_run"])
        except StoreError as error:
            raise CommandError(str(error)) from error
        if options["format"] == "json":
            told = {"carried": sums is not None and not options["dry_run"], "sums": sums and asdict(sums)}
            self.stdout.write(json.dumps({**told, "dry_run": options["dry_run"]}))
        elif sums is None:
            self.stdout.write("the stock was carried over before; nothing was changed")
        else:
            listed = ", ".join(f"{name} {number}" for name, number in asdict(sums).items())
            done = "would be carried; nothing was touched" if options["dry_run"] else "carried"
            self.stdout.write(f"{done}: {listed}")
