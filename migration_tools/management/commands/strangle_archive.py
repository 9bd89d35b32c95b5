"""Restore the final dump of a decommission and compare it whole with what was dumped."""

import threading
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from migration_tools.conf import settings
from migration_tools.errors import ExitCode
from migration_tools.management.operation import Operation
from migration_tools.management.signals import watch
from migration_tools.phases import dumps
from migration_tools.phases.archive import DUMPED
from migration_tools.state.journal import last_evidence


class Command(Operation):
    """Needs neither the playbook nor the old tables: the dump says what they were."""

    help = "Restore the final dump of a context into a scratch database and compare its checksums."
    examples = ("orders", "orders --directory var/archive/orders", "orders --scratch rescue --keep")
    purpose = "archive"
    can_dry_run = False

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--directory", help="where the dump is (default: where the journal says)")
        parser.add_argument(
            "--scratch", help="the Django database to restore into (default: one made for it and dropped again)"
        )
        parser.add_argument(
            "--keep", action="store_true", help="leave the restored tables in schema strangle_restored_<context>"
        )

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        context, alias = options["context"], options["scratch"]
        if options["keep"] and not alias:
            raise CommandError("--keep needs --scratch: a database that stays", returncode=ExitCode.USAGE)
        dumped = last_evidence(context, DUMPED) or {}
        directory = Path(options["directory"] or dumped.get("directory") or f"var/archive/{context}")
        # A dump that was carried elsewhere is still the one that the journal knows.
        manifest = dumps.read_manifest(directory, known=dumped.get("manifest_sha256", ""))

        with dumps.opened_scratch(alias, settings().DATABASE, context, keep=options["keep"]) as (conn, schema):
            evidence = dumps.restore(
                conn, directory, manifest, schema, watch=watch(stop, quiet=options["format"] != "text")
            )
        rows = sum(evidence["rows"].values())
        where = f"; they are in schema {schema!r} of {alias!r}" if options["keep"] else ""
        known = "" if dumped else " (the journal knows no checksum of this dump)"
        return {
            "evidence": {**evidence, "directory": str(directory), "schema": schema, "known": bool(dumped)},
            "message": f"{len(evidence['rows'])} tables with {rows:,} rows restored, byte for byte what was "
            f"dumped{known}{where}",
        }
