"""The public HTTP API: answers from the service's own facts; no other service is asked."""

from http import HTTPStatus

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.errors import StoreAway
from migration_tools.service.problems import Unavailable, described

from .facts import FACTS
from .serializers import PeriodSerializer, RecommendationSerializer, RevenueSerializer

AT_MOST = 10


class RecommendationsView(APIView):
    """What others bought together with what the customer bought."""

    consistency = "eventual"

    @extend_schema(
        operation_id="recommendations_list",
        responses={200: RecommendationSerializer(many=True)}
        | described(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE),
    )
    def get(self, request: Request, customer: int) -> Response:
        """List ten products at most, the most frequent first."""
        if customer != request.user.pk:
            raise Http404(f"you are not customer {customer}")
        try:
            rows = [{"product": product, "together": count} for product, count in FACTS.together(customer, AT_MOST)]
        except StoreAway as away:
            raise Unavailable(str(away)) from away
        return Response(RecommendationSerializer(rows, many=True).data)


class RevenueView(APIView):
    """What the shop took in."""

    consistency = "eventual"

    permission_classes = [IsAdminUser]

    @extend_schema(
        operation_id="revenue_list",
        parameters=[PeriodSerializer],
        responses={200: RevenueSerializer(many=True)}
        | described(
            HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.SERVICE_UNAVAILABLE
        ),
    )
    def get(self, request: Request) -> Response:
        """List days with revenue: staff only."""
        asked = PeriodSerializer(data=request.query_params)
        asked.is_valid(raise_exception=True)
        try:
            found = list(FACTS.revenue(asked.validated_data["first"], asked.validated_data["last"]))
        except StoreAway as away:
            raise Unavailable(str(away)) from away
        rows = [{"day": day, "orders": orders, "amount": amount} for day, orders, amount in found]
        return Response(RevenueSerializer(rows, many=True).data)
