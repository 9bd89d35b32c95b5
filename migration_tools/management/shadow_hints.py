"""Which fields a context's playbook transforms, in words, for whoever proposes rules about shadow reads."""

from django.db.models import F

from migration_tools.errors import StrangleError
from migration_tools.playbook.registry import get


def transformed_fields(context: str) -> dict[str, str]:
    """Names of transformed columns on either side, each with the sentence that says so; {} without a playbook."""
    try:
        playbook = get(context)
    except StrangleError:
        return {}
    found: dict[str, str] = {}
    for projection in playbook.projections:
        for column, expression in projection.columns.items():
            if not isinstance(expression, F):
                found.setdefault(column, f"the playbook makes {projection.into}.{column} by a transform")
        for source in projection.reverse:
            found.setdefault(source, f"the playbook transforms {projection.model}.{source}")
    return found
