"""A context's first playbook: every table to one of the same columns; what is to be decided is said in comments."""

from collections.abc import Iterator, Sequence

from migration_tools.generation.shape import Column, Shape

WIDTH = 100


def render_playbook(context: str, shapes: list[Shape], copies: Sequence[Shape] = (), *, target: str) -> str:
    """The module's text."""
    return "\n".join(_lines(context, shapes, copies, target)) + "\n"


def _lines(context: str, shapes: list[Shape], copies: Sequence[Shape], target: str) -> Iterator[str]:
    copied = {shape.source for shape in copies}
    outside = sorted({each.leads_outside for shape in shapes for each in shape.columns if each.leads_outside} - copied)
    yield f'"""The {context} context: from the monolith into a service of its own, and back."""'
    yield ""
    if any(each.withheld for shape in (*shapes, *copies) for each in shape.columns):
        yield "from django.db.models import Value"
    yield "from migration_tools.playbook import Gates, Playbook, Projection, Route, minutes, seconds"
    yield ""
    yield ""
    yield f"class {class_name(context)}(Playbook):"
    yield f'    """From {len(shapes)} models; rename columns and routes as the service has them."""'
    yield ""
    yield f"    context = {_quoted(context)}"
    yield '    source = "default"'
    yield f"    target = {_quoted(target)}"
    yield "    projections = ["
    for shape in shapes:
        yield from _projection(shape)
    yield "    ]"
    if copies:
        yield "    references = ["
        for shape in copies:
            yield from _projection(shape)
        yield "    ]"
    if outside:
        yield "    # Keys that lead outside stay plain columns. What the service must show of"
        yield "    # their rows comes by `references`; the monolith alone writes it:"
        yield from (f"    #   {label}" for label in outside)
    yield f'    routes = [Route("/api/{context}", service={_quoted(target)})]'
    yield "    gates = Gates(max_lag=seconds(2), clean_verifications=2, soak=minutes(30), quiet=minutes(10))"


def _projection(shape: Shape) -> Iterator[str]:
    yield "        Projection("
    yield f"            {_quoted(shape.source)},"
    yield f"            into={_quoted(shape.table)},"
    yield f"            key={{{_quoted(shape.key.column)}: {_quoted(shape.key.source)}}},"
    yield "            columns={"
    for column in shape.columns:
        if column is not shape.key:
            value = 'Value("!")' if column.withheld else _quoted(column.source)
            yield from (f"                # {note}" for note in _notes(column))
            yield f"                {_quoted(column.column)}: {value},"
    yield "            },"
    yield "        ),"


def _notes(column: Column) -> Iterator[str]:
    """On a line of its own, since no formatter breaks one that is too long."""
    if column.withheld:
        yield "a secret of whoever owns the row"
    elif column.leads_outside:
        yield f"a key of {column.leads_outside}"


def class_name(context: str) -> str:
    """Of the playbook."""
    return "".join(part.title() for part in context.replace("-", "_").replace("+", "_").split("_"))


def _quoted(text: str) -> str:
    return f'"{text}"'
