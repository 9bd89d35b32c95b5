"""The libraries of the extra `analysis`, imported where they are used, so that a monolith runs without them."""

from importlib import import_module
from typing import Any

from migration_tools.errors import AnalysisError


def load(name: str) -> Any:
    """Import one of grimp, networkx, sqlglot.

    Raises:
        AnalysisError: it is not installed; the message names the extra.
    """
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise AnalysisError(
            f"the analysis needs {package!r}, which is not installed; pip install 'django-strangler[analysis]'"
        ) from error
