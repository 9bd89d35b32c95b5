"""Capture on every table of oscar, as a playbook over all of them would have it installed."""

import threading

from migration_tools.analysis.context_map import all_tables
from migration_tools.capture.declaration import Fence, SideSpec, TableSpec
from migration_tools.capture.installation import install
from migration_tools.capture.models import Side
from migration_tools.stores.postgres import connect
from migration_tools.stores.postgres.catalog import read_table

STREAM = "everything"


def capture_everything() -> list[str]:
    """Install capture and fence on each table that has a key; give their names."""
    with connect("default", "oscar") as conn:
        specs = []
        for name in all_tables():
            shape = read_table(conn, name)
            assert shape is not None, name
            specs.append(
                TableSpec(
                    stream=STREAM,
                    table=name,
                    key=shape.key,
                    is_base=True,
                    watched=(),
                    reported=(),
                    inexact=tuple(column for column in shape.key if not shape.columns[column].exact),
                    echoes=False,
                    captured=True,
                    fence=Fence.OWNER,
                )
            )
        spec = SideSpec(context=STREAM, side=Side.SOURCE.value, relations=(), tables=tuple(specs))
        install(conn, spec, wait=lambda seconds: threading.Event().wait(seconds) and None)
    return [each.table for each in specs]
