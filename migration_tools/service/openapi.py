"""How a service's OpenAPI document describes who is asking: the monolith's identity in cookies, or a Bearer token."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import OpenApiParameter


class IdentityScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """Describe the cookie and the Bearer token in the OpenAPI document; either will do."""

    target_class = "migration_tools.routing.identity.authentication.IdentityAuthentication"
    name = ["identityCookie", "bearerToken"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[Any]]]:
        """Give the ways to be known, one of which is enough."""
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        """Give the OpenAPI security schemes."""
        return [
            {"type": "apiKey", "in": "cookie", "name": "sx_identity"},
            {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
        ]


CSRF_TOKEN = OpenApiParameter(
    "X-CSRFToken",
    str,
    OpenApiParameter.HEADER,
    description="the csrftoken cookie's value; needed beside cookies, and not with a Bearer token",
)
