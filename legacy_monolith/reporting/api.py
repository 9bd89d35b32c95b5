"""The JSON API of reports, for staff."""

from __future__ import annotations

from dataclasses import asdict

from django.utils import timezone
from rest_framework import serializers
from rest_framework.permissions import IsAdminUser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from legacy_monolith.reporting.sales import sales_by_category, top_customers


class YearQuery(serializers.Serializer):
    year = serializers.IntegerField(min_value=1, max_value=9998, required=False)


class LimitQuery(serializers.Serializer):
    limit = serializers.IntegerField(min_value=1, max_value=1000, default=10)


class SalesByCategory(APIView):
    permission_classes = [IsAdminUser]

    def get(self, request: Request) -> Response:
        query = YearQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        year = query.validated_data.get("year", timezone.now().year)
        return Response([_as_json(asdict(row)) for row in sales_by_category(year)])


class TopCustomers(APIView):
    permission_classes = [IsAdminUser]

    def get(self, request: Request) -> Response:
        query = LimitQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        return Response([_as_json(asdict(row)) for row in top_customers(query.validated_data["limit"])])


def _as_json(row: dict[str, object]) -> dict[str, object]:
    money = ("revenue", "spent", "captured")
    return {key: str(value) if key in money and value is not None else value for key, value in row.items()}
