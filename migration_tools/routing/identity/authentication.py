"""The user of the monolith as an authentication class of Django REST framework."""

from rest_framework.authentication import BaseAuthentication, CSRFCheck
from rest_framework.exceptions import APIException, AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from migration_tools.routing.identity.inquiry import Unreachable
from migration_tools.routing.identity.reading import finding, identify
from migration_tools.routing.identity.user import StranglerUser


class IdentityUnavailable(APIException):
    """Who it is cannot be known now: a 503, since a 401 would send somebody to a login who is logged in."""

    status_code = 503
    default_detail = "who you are cannot be found out at the moment; send the request again"
    default_code = "identity_unavailable"


class IdentityAuthentication(BaseAuthentication):
    """Believe what IDENTITY names, and ask for a CSRF token as `SessionAuthentication` does.

    The browser sends its cookies by itself, so an unsafe method must also show the value of the monolith's CSRF
    cookie. A Bearer token is not sent by itself and needs none. IdentityMiddleware is needed beside it, to hand renewed
    tokens out.
    """

    def authenticate(self, request: Request) -> tuple[StranglerUser, None] | None:
        """Give the user, or nobody."""
        try:
            user = identify(request._request)
        except Unreachable as error:
            raise IdentityUnavailable from error
        found = finding(request._request)
        if found is not None and found.bearer:
            if user is None:
                raise AuthenticationFailed("the bearer token is not valid here, or has expired; ask for a new one")
            return user, None
        if user is None:
            return None
        check = CSRFCheck(lambda _request: None)  # type: ignore[arg-type]
        check.process_request(request._request)
        if reason := check.process_view(request._request, None, (), {}):  # type: ignore[arg-type]
            raise PermissionDenied(f"CSRF check failed: {reason}; send the csrftoken cookie's value as X-CSRFToken")
        return user, None

    def authenticate_header(self, request: Request) -> str:
        """Make an unauthenticated request a 401: the client mends it by logging in at the monolith."""
        found = finding(request._request)
        return 'Bearer error="invalid_token"' if found is not None and found.bearer else 'Cookie realm="monolith"'
