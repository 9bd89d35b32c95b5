"""System checks of what is declared here: definitions, the way back, calls of other servers, circles."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.core import checks

from migration_tools.conf import settings
from migration_tools.errors import SettingsError
from migration_tools.sagas import choreography, participant, registry
from migration_tools.sagas.flow import find_faults as find_flow_faults
from migration_tools.sagas.flow import hops
from migration_tools.sagas.http_calls import names_of_clients
from migration_tools.sagas.validation import find_mistakes

HTTP = "strangle.E082"


@checks.register("strangle")
def check_definitions(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E080: a definition cannot be used. E081: a step before the pivot has no compensation, or one behind it has."""
    return [
        checks.Error(mistake.text, hint="see docs/reference/sagas.md", id=mistake.id, obj=None)
        for saga in registry.declared()
        for mistake in find_mistakes(saga)
    ]


@checks.register("strangle")
def check_calls(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E082: a step's function names a client of other servers, which it would call inside the step's transaction."""
    return [
        checks.Error(
            f"{what} uses {found}, inside the step's transaction",
            hint="ask other services by a step of their own; what may be lost goes into allowing_connections()",
            id=HTTP,
        )
        for what, function in _functions()
        for found in names_of_clients(function)
    ]


@checks.register("strangle")
def check_circles(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E083: reactions of this service lead in a circle; `strangle_sagas graph --with` joins those of others to them."""
    try:
        side = settings().SIDE
    except SettingsError:
        return []  # E001 says it
    return [
        checks.Error(fault.text, hint="draw it with strangle_sagas graph, and let one reaction end it", id=fault.id)
        for fault in find_flow_faults(hops(choreography.reactions(), side), whole=False)
    ]


def _functions() -> Iterator[tuple[str, Any]]:
    for saga in registry.declared():
        for step in saga.steps:
            for function in (step.local, step.undo):
                if callable(function):
                    yield f"saga {saga.name!r}, step {step.name!r}", function
    for part in participant.participants():
        yield f"the participant of {part.command!r}", part.function
    for reaction in choreography.reactions():
        if reaction.function is not None:
            yield f"the reaction to {reaction.takes!r}", reaction.function
