"""Who is asking: the monolith's signed identity cookie as a DRF authentication class."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from migration_tools.routing.identity import StranglerUser, read_identity


class IdentityAuthentication(BaseAuthentication):
    """Trust the signed identity cookie, and ask for a CSRF token as `SessionAuthentication` does.

    The browser sends the cookie by itself, so an unsafe method must also show the `csrftoken` cookie's value.
    """

    def authenticate(self, request: Request) -> tuple[StranglerUser, None] | None:
        """Give the user of the identity cookie, or nobody when it is missing, forged or expired."""
        user = read_identity(request._request)
        if user is None:
            return None
        self._enforce_csrf(request)
        return user, None

    def authenticate_header(self, request: Request) -> str:
        """Make an unauthenticated request a 401: the client mends it by logging in at the monolith."""
        return 'Cookie realm="shop"'

    def _enforce_csrf(self, request: Request) -> None:
        check = CSRFCheck(lambda _request: None)
        check.process_request(request._request)
        if reason := check.process_view(request._request, None, (), {}):
            raise PermissionDenied(f"CSRF check failed: {reason}; send the csrftoken cookie's value as X-CSRFToken")


class IdentityScheme(OpenApiAuthenticationExtension):
    """Describe the cookie in the OpenAPI document."""

    target_class = IdentityAuthentication
    name = "identityCookie"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        """Give the OpenAPI security scheme."""
        return {"type": "apiKey", "in": "cookie", "name": "strangler_identity"}
