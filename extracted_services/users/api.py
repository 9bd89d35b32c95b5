"""The public HTTP API of users: oneself; and what the monolith, which keeps the sessions, asks of it."""

from http import HTTPStatus

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.messaging.feed import consumer_of
from migration_tools.service.openapi import CSRF_TOKEN
from migration_tools.service.problems import described

from . import people
from .models import Person, PublicId
from .serializers import (
    AccountSerializer,
    CredentialsSerializer,
    NameSerializer,
    ProfileSerializer,
    PublicIdSerializer,
    SignUpSerializer,
)

READ_PROBLEMS = described(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND)
WRITE_PROBLEMS = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


class MeView(APIView):
    """Oneself."""

    consistency = "strong"

    @extend_schema(operation_id="me_read", responses={200: ProfileSerializer} | READ_PROBLEMS)
    def get(self, request: Request) -> Response:
        """Show oneself."""
        person = Person.objects.filter(pk=request.user.pk).first()
        if person is None:
            raise Http404("you are not known here; sign up")
        return Response(ProfileSerializer(person).data)

    @extend_schema(
        operation_id="me_rename",
        parameters=[CSRF_TOKEN],
        request=NameSerializer,
        responses={200: ProfileSerializer} | WRITE_PROBLEMS,
    )
    def patch(self, request: Request) -> Response:
        """Change one's own name."""
        wanted = NameSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            person = people.rename(request.user.pk, wanted.validated_data)
        except Person.DoesNotExist:
            raise Http404("you are not known here; sign up") from None
        return Response(ProfileSerializer(person).data)


class PublicIdView(APIView):
    """The id by which one is known outside."""

    consistency = "strong"

    @extend_schema(operation_id="me_public_id", responses={200: PublicIdSerializer} | READ_PROBLEMS)
    def get(self, request: Request) -> Response:
        """Show one's own."""
        found = PublicId.objects.filter(pk=request.user.pk).first()
        if found is None or not Person.objects.filter(pk=found.pk).exists():
            raise Http404("you are not known here; sign up")
        return Response(PublicIdSerializer(found).data)


class OfTheMonolith(BasePermission):
    """Whoever shows the monolith's feed token: the service's only caller that is no browser."""

    message = "present the token that FEED_TOKENS holds for the monolith"

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Compare the token, in constant time."""
        return consumer_of(request._request) == "monolith"


@extend_schema(exclude=True)
class AccountsView(APIView):
    """Signing up, as the monolith passes it on."""

    consistency = "strong"

    authentication_classes = ()
    permission_classes = (OfTheMonolith,)

    def post(self, request: Request) -> Response:
        """Make a customer."""
        form = SignUpSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        try:
            person = people.register(**form.validated_data)
        except people.EmailTaken as error:
            raise ValidationError({"email": [str(error)]}) from error
        return Response(AccountSerializer(person).data, status=HTTPStatus.CREATED)


@extend_schema(exclude=True)
class RecognitionView(APIView):
    """Logging in, as the monolith passes it on."""

    consistency = "strong"

    authentication_classes = ()
    permission_classes = (OfTheMonolith,)

    def post(self, request: Request) -> Response:
        """Tell whose credentials these are; 404 when nobody's."""
        form = CredentialsSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        person = people.recognise(**form.validated_data)
        if person is None:
            raise Http404("no customer has this e-mail and password")
        return Response(AccountSerializer(person).data)


@extend_schema(exclude=True)
class AccountView(APIView):
    """One account, as the monolith's sessions need it."""

    consistency = "strong"

    authentication_classes = ()
    permission_classes = (OfTheMonolith,)

    def get(self, request: Request, pk: int) -> Response:
        """Show the account."""
        person = Person.objects.filter(pk=min(pk, 2**63 - 1)).first()
        if person is None:
            raise Http404(f"there is no account {pk}")
        return Response(AccountSerializer(person).data)
