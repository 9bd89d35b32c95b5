"""Publish a version of reference data from a file."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from extracted_services.reference.models import Kind
from extracted_services.reference.publishing import NotPublished, publish


class Command(BaseCommand):
    """As the owner role; a file that says what the last version says publishes nothing."""

    help = "Publish all rows of a kind. Example: reference_publish taxes taxes.json"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("kind", choices=Kind.values)
        parser.add_argument("file", type=Path, help="a JSON list of rows with key, valid_from and whatever they say")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            made = publish(Kind(options["kind"]), json.loads(options["file"].read_text()))
        except (NotPublished, OSError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"version {made.version}" if made else "nothing is new")
