"""Read models: tables that handlers fill from events of several streams, in any order, rebuilt beside traffic."""

from migration_tools.projections.columns import Copied, Counted, Gathered, Largest, Latest, Steps, Summed
from migration_tools.projections.declaration import Change, Gone, Put, ReadModel, Reference, Table, on

__all__ = [
    "Change",
    "Copied",
    "Counted",
    "Gathered",
    "Gone",
    "Largest",
    "Latest",
    "Put",
    "ReadModel",
    "Reference",
    "Steps",
    "Summed",
    "Table",
    "on",
]
