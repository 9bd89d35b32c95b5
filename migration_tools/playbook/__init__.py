"""The declaration of one context's migration: parse, validate (all mistakes at once), compile, explain."""

from migration_tools.playbook.declaration import Gates, Playbook, Projection, Route, hours, minutes, seconds

__all__ = ["Gates", "Playbook", "Projection", "Route", "hours", "minutes", "seconds"]
