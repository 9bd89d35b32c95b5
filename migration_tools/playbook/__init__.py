"""The declaration of one context's migration: parse, validate (all mistakes at once), compile, explain."""

from migration_tools.playbook.declaration import Gates, Playbook, Projection, Route, hours, minutes, seconds
from migration_tools.playbook.invariants import CountEqual, NoOrphans, SumEqual, Unique
from migration_tools.playbook.replicas import Replica

__all__ = [
    "CountEqual",
    "Gates",
    "NoOrphans",
    "Playbook",
    "Projection",
    "Replica",
    "Route",
    "SumEqual",
    "Unique",
    "hours",
    "minutes",
    "seconds",
]
