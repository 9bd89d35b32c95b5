"""System checks of compositions: a gateway that fronts everything is the hub that slices were to avoid."""

from collections.abc import Sequence
from typing import Any

from django.core import checks

from migration_tools.composition.declaration import declared
from migration_tools.conf import find_mistakes, settings

SOURCES_AT_MOST = 6


@checks.register("strangle")
def check_gateway(app_configs: Sequence[Any] | None, **kwargs: Any) -> list[checks.CheckMessage]:
    """E100: a composition asks a source that SERVICES does not name. W101: one process fronts too many sources."""
    from django.conf import settings as django_settings

    if find_mistakes(getattr(django_settings, "MIGRATION_TOOLS", {})):
        return []
    asked = {part.source: composition.name for composition in declared for part in composition.parts.values()}
    known = settings().SERVICES
    found: list[checks.CheckMessage] = [
        checks.Error(
            f"composition {name!r} asks source {source!r}, which MIGRATION_TOOLS['SERVICES'] does not name",
            hint=f"add {source!r} with its base URL; there are {sorted(known)}",
            id="strangle.E100",
        )
        for source, name in sorted(asked.items())
        if source not in known
    ]
    if len(asked) > SOURCES_AT_MOST:
        found.append(
            checks.Warning(
                f"this process composes from {len(asked)} sources: {sorted(asked)}",
                hint=f"split it into gateways of a slice each, of at most {SOURCES_AT_MOST} sources",
                id="strangle.W101",
            )
        )
    return found
