"""Export a context's tables as cold data: Parquet files, or a store of STORES such as ClickHouse."""

import threading
from pathlib import Path
from typing import Any

from django.apps import apps
from django.core.management.base import CommandParser

from migration_tools.errors import SettingsError
from migration_tools.exports.exporting import export
from migration_tools.exports.parquet import ParquetSink
from migration_tools.exports.ports import Sink
from migration_tools.exports.store import StoreSink
from migration_tools.management.operation import Operation
from migration_tools.management.signals import watch
from migration_tools.playbook.declaration import Playbook
from migration_tools.playbook.registry import get
from migration_tools.state.journal import phase_of
from migration_tools.state.phase import Phase
from migration_tools.stores.opening import open_store
from migration_tools.stores.postgres import connect


class Command(Operation):
    """Reads whoever owns the context, in one snapshot; needs no capture and holds nobody up."""

    help = "Export what changed in a context's tables since the last export."
    examples = ("orders --to parquet --path var/cold",)

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--to", required=True, help="parquet, or the name of a store in MIGRATION_TOOLS['STORES']")
        parser.add_argument("--path", default="", help="parquet: the directory")
        parser.add_argument(
            "--since", choices=["last", "start"], default="last", help="start: everything, in place of what is there"
        )

    def operate(self, options: dict[str, Any], stop: threading.Event) -> dict[str, Any]:
        playbook = get(options["context"])
        alias, tables = owned(playbook)
        if options["dry_run"]:
            plan = [f"export {table} of database {alias!r} to {options['to']!r}" for table in tables]
            return {"message": "nothing was touched", "plan": plan, "evidence": {}}
        sink = _sink(options)
        try:
            with connect(alias, "export") as conn:
                watched = watch(stop, quiet=options["format"] == "json")
                done = export(conn, tables, sink, whole=options["since"] == "start", watch=watched)
        finally:
            sink.close()
        told = {each.table: {"number": each.number, "rows": each.rows, "whole": each.whole} for each in done}
        return {"message": f"{sum(each.rows for each in done)} rows", "evidence": {"tables": told}}


def owned(playbook: type[Playbook]) -> tuple[str, list[str]]:
    """The owner's database, and its tables of the context."""
    if phase_of(playbook.context) in (Phase.CUTOVER, Phase.DECOMMISSION):
        return playbook.target, list(dict.fromkeys(projection.into for projection in playbook.projections))
    models = dict.fromkeys(projection.model for projection in playbook.projections if projection.model.count(".") == 1)
    return playbook.source, [apps.get_model(model)._meta.db_table for model in models]


def _sink(options: dict[str, Any]) -> Sink:
    if options["to"] != "parquet":
        return StoreSink(open_store(options["to"]))
    if not options["path"]:
        raise SettingsError("--to parquet needs --path, the directory of the files")
    return ParquetSink(Path(options["path"]))
