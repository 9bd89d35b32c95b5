"""The public HTTP API of payments: the customer's own, the newest first."""

from http import HTTPStatus

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.service.problems import described

from .models import Payment
from .serializers import PaymentSerializer

PAYMENT_PAGE = inline_serializer(
    "PaymentPage",
    {
        "count": serializers.IntegerField(),
        "next": serializers.URLField(allow_null=True),
        "previous": serializers.URLField(allow_null=True),
        "results": PaymentSerializer(many=True),
    },
)


class PaymentPages(PageNumberPagination):
    """Pages of twenty, by number."""

    page_size = 20


class PaymentsView(APIView):
    """The customer's payments; they follow the orders' events, so there is nothing to write here."""

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
