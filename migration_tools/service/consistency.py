"""How consistent an endpoint's answers are: said by its view, shown in the OpenAPI document as `x-consistency`."""

from typing import Any

from drf_spectacular.drainage import warn
from drf_spectacular.openapi import AutoSchema

from migration_tools.contracts.http_api import CONSISTENCY, CONSISTENCY_EXTENSION
from migration_tools.service import openapi

__all__ = ["ServiceSchema", "openapi"]


class ServiceSchema(AutoSchema):
    """Take a view's attribute `consistency`; one without is a warning, which `spectacular --fail-on-warn` refuses."""

    def get_extensions(self) -> dict[str, Any]:
        """See AutoSchema."""
        said = getattr(self.view, "consistency", None)
        if said not in CONSISTENCY:
            warn(f"{type(self.view).__name__}.consistency is {said!r}; say one of {', '.join(CONSISTENCY)}")
            return dict(super().get_extensions())
        return {**super().get_extensions(), CONSISTENCY_EXTENSION: said}
