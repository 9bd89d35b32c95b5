"""Tokens for API clients: a customer's e-mail address and password for a short while of `Authorization: Bearer`."""

import hashlib
from http import HTTPStatus

from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from migration_tools.capture.ownership import owned_here
from migration_tools.conf import settings
from migration_tools.routing.identity.bearer import issue_for_api
from migration_tools.routing.identity.user import StranglerUser
from migration_tools.routing.middleware import not_now
from migration_tools.service.problems import described

from . import people
from .serializers import CredentialsSerializer, TokenSerializer

PROBLEMS = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


class AddressThrottle(SimpleRateThrottle):
    """So many tries from one address: each costs a hash, whether it is right or wrong."""

    scope = "token_address"

    def get_cache_key(self, request: Request, view: APIView) -> str:
        """See SimpleRateThrottle."""
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request)}


class LoginThrottle(SimpleRateThrottle):
    """So many tries for one e-mail address, from wherever, and whether somebody has it or not."""

    scope = "token_login"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        """See SimpleRateThrottle; what is no e-mail address is not counted, and never tried."""
        form = CredentialsSerializer(data=request.data)
        if not form.is_valid():
            return None
        ident = hashlib.sha256(form.validated_data["email"].lower().encode()).hexdigest()
        return self.cache_format % {"scope": self.scope, "ident": ident}


class TokenView(APIView):
    """A token for an API client; a browser logs in at the monolith."""

    consistency = "strong"

    # No cookie is looked at and none is set, so that no page of another site gains anything by asking.
    authentication_classes = ()
    permission_classes = ()
    throttle_classes = (AddressThrottle, LoginThrottle)

    def get_authenticate_header(self, request: Request) -> str:
        """Make wrong credentials a 401."""
        return 'Bearer realm="users"'

    @extend_schema(
        operation_id="token_issue",
        auth=[],
        request=CredentialsSerializer,
        responses={200: TokenSerializer} | PROBLEMS,
    )
    def post(self, request: Request) -> Response:
        """Give a token for an e-mail address and a password."""
        form = CredentialsSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        # Only the owner knows who is active and by which password; by a copy, one that was changed would still do.
        if not owned_here("users"):
            return not_now(request._request)  # type: ignore[return-value]
        person = people.recognise(**form.validated_data)
        if person is None:
            raise AuthenticationFailed("no active customer has this e-mail address and password")
        token = issue_for_api(StranglerUser(pk=person.pk, name=person.name))
        answer = {"access_token": token, "token_type": "Bearer", "expires_in": settings().IDENTITY_LIFE_SECONDS}
        return Response(answer, headers={"Cache-Control": "no-store"})
