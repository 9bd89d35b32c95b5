"""How a service's OpenAPI document describes who is asking: the monolith's identity, in cookies."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter


class IdentityScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describe the cookie in the OpenAPI document."""

    target_class = "migration_tools.routing.identity.authentication.IdentityAuthentication"
    name = "identityCookie"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Give the OpenAPI security scheme."""
        return {"type": "apiKey", "in": "cookie", "name": "sx_identity"}


CSRF_TOKEN = OpenApiParameter(
    "X-CSRFToken", str, OpenApiParameter.HEADER, required=True, description="the csrftoken cookie's value"
)
