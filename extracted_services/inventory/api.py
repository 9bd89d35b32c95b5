"""The public HTTP API of the inventory: what is on hand, deliveries, reservations."""

import uuid
from http import HTTPStatus

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny, IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.service.openapi import CSRF_TOKEN
from migration_tools.service.problems import Conflict, described

from . import stock
from .serializers import (
    LARGEST_BIGINT,
    DeliverySerializer,
    ReservationSerializer,
    StockSerializer,
    WantedReservationSerializer,
)

WRITE_PROBLEMS = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.SERVICE_UNAVAILABLE,
)


class StockView(APIView):
    """How many of one product are on hand; anybody may know."""

    consistency = "strong"

    permission_classes = [AllowAny]

    def get_authenticators(self) -> list[BaseAuthentication]:
        """Nobody is asked who they are."""
        return []

    @extend_schema(
        operation_id="stock_read",
        auth=[],
        responses={200: StockSerializer} | described(HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    def get(self, request: Request, product: int) -> Response:
        """Show what is on hand."""
        found = stock.keeper().find(product) if product <= LARGEST_BIGINT else None
        if found is None:
            raise Http404(f"there is no stock of product {product}; see /api/products/")
        return Response(StockSerializer(found).data)


class DeliveryView(APIView):
    """Deliveries of one product; staff enter them."""

    consistency = "strong"

    permission_classes = [IsAdminUser]

    @extend_schema(
        operation_id="stock_receive",
        parameters=[CSRF_TOKEN],
        request=DeliverySerializer,
        responses={200: StockSerializer} | WRITE_PROBLEMS | described(HTTPStatus.NOT_FOUND),
    )
    def post(self, request: Request, product: int) -> Response:
        """Enter a delivery: staff only."""
        delivery = DeliverySerializer(data=request.data)
        delivery.is_valid(raise_exception=True)
        if stock.keeper().find(min(product, LARGEST_BIGINT)) is None:
            raise Http404(f"there is no stock of product {product}; see /api/products/")
        return Response(StockSerializer(stock.keeper().receive(product, delivery.validated_data["quantity"])).data)


class ReservationsView(APIView):
    """Reservations of the customer."""

    consistency = "strong"

    @extend_schema(
        operation_id="reservations_make",
        parameters=[CSRF_TOKEN],
        request=WantedReservationSerializer,
        responses={201: ReservationSerializer} | WRITE_PROBLEMS | described(HTTPStatus.CONFLICT),
    )
    def post(self, request: Request) -> Response:
        """Reserve products, all or nothing; under one reference once."""
        wanted = WantedReservationSerializer(data=request.data)
        wanted.is_valid(raise_exception=True)
        try:
            made = stock.keeper().reserve(request.user.pk, wanted.validated_data["reference"], wanted.quantities())
        except (stock.TooFew, stock.OtherReservation) as refusal:
            raise Conflict(str(refusal)) from refusal
        return Response(ReservationSerializer(made).data, status=HTTPStatus.CREATED)


class ReservationView(APIView):
    """One reservation of the customer."""

    consistency = "strong"

    @extend_schema(
        operation_id="reservations_release",
        parameters=[CSRF_TOKEN],
        request=None,
        responses={200: ReservationSerializer} | WRITE_PROBLEMS | described(HTTPStatus.NOT_FOUND),
    )
    def delete(self, request: Request, public_id: uuid.UUID) -> Response:
        """Release a reservation; repeated, it changes nothing."""
        try:
            released = stock.keeper().release(request.user.pk, public_id)
        except stock.NoReservation:
            raise Http404(f"you have no reservation {str(public_id)!r}") from None
        return Response(ReservationSerializer(released).data)
