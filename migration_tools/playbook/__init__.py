"""The declaration of one context's migration: parse, validate (all mistakes at once), compile, explain."""

from migration_tools.playbook.declaration import Gates, Playbook, Route, hours, minutes, seconds
from migration_tools.playbook.invariants import CountEqual, NoOrphans, SumEqual, Unique
from migration_tools.playbook.projection import Projection
from migration_tools.playbook.replicas import Replica
from migration_tools.playbook.transform import Transform
from migration_tools.stores.python_values import JSON_NULL

__all__ = [
    "JSON_NULL",
    "CountEqual",
    "Gates",
    "NoOrphans",
    "Playbook",
    "Projection",
    "Replica",
    "Route",
    "SumEqual",
    "Transform",
    "Unique",
    "hours",
    "minutes",
    "seconds",
]
