"""Options of the generators: how tables are called in the service, and of which other models it keeps a copy."""

from typing import Any

from django.core.management.base import CommandParser

from migration_tools.analysis.context_file import load_contexts
from migration_tools.generation.shape import Shape, copies_of, shapes_of


def add_shape_options(parser: CommandParser) -> None:
    """The same for playbook and service, which must agree."""
    parser.add_argument(
        "--keep-names", action="store_true", help="tables are called as in the monolith, so its code can run on them"
    )
    parser.add_argument(
        "--copies",
        default="",
        help="models of other contexts of which the service keeps a copy: auth.User,shop.Country",
    )


def read_shapes(context: str, options: dict[str, Any]) -> tuple[list[Shape], list[Shape]]:
    """The context's own models, and those of which it keeps a copy.

    Raises:
        AnalysisError: a context or model is not there, or cannot be written from.
    """
    contexts = load_contexts()
    copied = [each.strip() for each in options["copies"].split(",") if each.strip()]
    own = shapes_of(context, contexts, keep_names=options["keep_names"])
    return own, copies_of(context, contexts, copied, keep_names=options["keep_names"])
