"""The public HTTP API of payments: the customer's own, the newest first, and their account."""

from http import HTTPStatus

from django.db import transaction
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.eventstore.store import NoSuchAggregate
from migration_tools.service.openapi import CSRF_TOKEN
from migration_tools.service.problems import described

from . import ledger
from .aggregates import ACCOUNTS, Account
from .models import Payment
from .serializers import AccountSerializer, LimitSerializer, MomentSerializer, PaymentSerializer

PAYMENT_PAGE = inline_serializer(
    "PaymentPage",
    {
        "count": serializers.IntegerField(),
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
        "results": PaymentSerializer(many=True),
    },
)


LARGEST_BIGINT = 2**63 - 1
NOTHING_YET = {"balance": 0, "most": None, "version": 0}
WRITE_PROBLEMS = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


class PaymentPages(PageNumberPagination):
    """Pages of twenty, by number."""

    page_size = 20


class PaymentsView(APIView):
    """The customer's payments; they follow the orders' events, so there is nothing to write here."""

    consistency = "strong"

    @extend_schema(
        operation_id="payments_list",
        parameters=[OpenApiParameter("page", int, description="which page, from 1")],
        responses={200: PAYMENT_PAGE} | described(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request) -> Response:
        """List the customer's payments, of the newest order first."""
        pages = PaymentPages()
        payments = Payment.objects.filter(payer_id=request.user.pk, order_public_id__isnull=False)
        page = pages.paginate_queryset(payments.order_by("-order_number"), request, view=self)
        return pages.get_paginated_response(PaymentSerializer(page, many=True).data)


class AccountView(APIView):
    """The customer's account: the sum of what happened to their payments, now or at any moment."""

    consistency = "strong"

    @extend_schema(
        operation_id="payments_account",
        parameters=[MomentSerializer],
        responses={200: AccountSerializer} | described(HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED),
    )
    def get(self, request: Request) -> Response:
        """Show what was captured from the customer and not given back."""
        asked = MomentSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        moment = asked.validated_data.get("as_of")
        try:
            own = Account.create_id(request.user.pk)
            found = ACCOUNTS.as_of(own, moment) if moment else ACCOUNTS.get(own)
        except NoSuchAggregate:
            return Response(AccountSerializer(NOTHING_YET).data)
        return Response(AccountSerializer(found).data)


class LimitView(APIView):
    """How much may be taken of a payer; staff say."""

    consistency = "strong"

    permission_classes = [IsAdminUser]

    @extend_schema(
        operation_id="payments_limit",
        parameters=[CSRF_TOKEN],
        request=LimitSerializer,
        responses={200: AccountSerializer} | WRITE_PROBLEMS | described(HTTPStatus.NOT_FOUND),
    )
    def put(self, request: Request, payer: int) -> Response:
        """Limit what a payer may pay by checkouts: staff only."""
        if payer > LARGEST_BIGINT:
            raise Http404(f"there is no payer {payer}")
        wanted = LimitSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        with transaction.atomic():
            account = ledger.enter(payer, lambda account: account.limit(wanted.validated_data["limit"]))
        return Response(AccountSerializer(account).data)
