"""What the tests' Celery workers load: the toolkit's application, then the definitions of the three services."""

from importlib import import_module

from migration_tools.sagas.celery_app import app

# Not an import statement: it must come after the line above, which makes the applications ready.
import_module("tests.sagas.services")

__all__ = ["app"]
