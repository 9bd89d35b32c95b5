"""The public HTTP API: a customer's own orders, from one table a screen; no other service is asked."""

import uuid
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.errors import SettingsError, StoreAway
from migration_tools.projections.declaration import ReadModel
from migration_tools.projections.elsewhere import opened
from migration_tools.projections.registry import get
from migration_tools.projections.tokens import as_of, wait_for
from migration_tools.service.problems import Unavailable, described

from .models import FeedEntry, OrderDetails, OrderSummary, Statement, UserOrders
from .serializers import (
    FeedSerializer,
    OrderDetailsSerializer,
    OrderProgressSerializer,
    OrderSummarySerializer,
    StatementSerializer,
    UserOrdersSerializer,
)

AT_MOST = 100
WAIT_SECONDS = 2.0
# What a command answered in X-Correlation-ID; a query that carries it waits until its effects are shown here.
AFTER_HEADER = "X-Read-After"
AFTER = OpenApiParameter(
    AFTER_HEADER,
    str,
    OpenApiParameter.HEADER,
    description="the X-Correlation-ID of a command whose effects the answer should show; X-Read-After: shown or late",
)
PROBLEMS = described(HTTPStatus.UNAUTHORIZED)
FIND_PROBLEMS = described(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND)
STORE_PROBLEMS = described(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE)


class ReadView(APIView):
    """A query of one read model, which says how old it is."""

    consistency = "session"

    model = ""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Wait for the caller's own write, if they name one."""
        super().initial(request, *args, **kwargs)
        token = request.headers.get(AFTER_HEADER, "")
        self._shown = wait_for(get(self.model), token, WAIT_SECONDS) if token else None

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Say how far each stream is."""
        made = super().finalize_response(request, response, *args, **kwargs)
        if response.status_code == HTTPStatus.OK:
            made["X-As-Of"] = _as_of(get(self.model))
            shown = getattr(self, "_shown", None)
            if shown is not None:
                made[AFTER_HEADER] = "shown" if shown else "late"
        return made


class DashboardView(ReadView):
    """The customer's name, how much they ordered, and their orders."""

    model = "user_orders"

    @extend_schema(operation_id="dashboard_read", parameters=[AFTER], responses={200: UserOrdersSerializer} | PROBLEMS)
    def get(self, request: Request) -> Response:
        """Show it; who ordered nothing has an empty one."""
        row = UserOrders.objects.filter(customer_id=request.user.pk).first() or UserOrders(
            customer_id=request.user.pk, name=request.user.name, orders_count=0, orders_total=Decimal(0), orders=[]
        )
        return Response(UserOrdersSerializer(row).data)


class OrdersView(ReadView):
    """The customer's orders, newest first."""

    model = "order_summary"

    @extend_schema(
        operation_id="summaries_list",
        parameters=[AFTER],
        responses={200: OrderSummarySerializer(many=True)} | PROBLEMS,
    )
    def get(self, request: Request) -> Response:
        """List a hundred at most."""
        rows = OrderSummary.objects.filter(customer_id=request.user.pk).order_by("-order_date", "order_id")
        return Response(OrderSummarySerializer(rows[:AT_MOST], many=True).data)


class OrderView(ReadView):
    """One order of the customer with its items."""

    model = "order_details"

    @extend_schema(
        operation_id="details_read", parameters=[AFTER], responses={200: OrderDetailsSerializer} | FIND_PROBLEMS
    )
    def get(self, request: Request, order_id: uuid.UUID) -> Response:
        """Show it."""
        row = OrderDetails.objects.filter(customer_id=request.user.pk, order_id=order_id).first()
        if row is None:
            raise Http404(f"you have no order {str(order_id)!r} here yet; /api/dashboard/orders/ lists yours")
        return Response(OrderDetailsSerializer(row).data)


class StatusView(ReadView):
    """How far one order of the customer is, out of Redis."""

    model = "order_status"

    @extend_schema(
        operation_id="status_read", parameters=[AFTER], responses={200: OrderProgressSerializer} | STORE_PROBLEMS
    )
    def get(self, request: Request, order_id: uuid.UUID) -> Response:
        """Show it; 503 while there is no Redis."""
        try:
            with opened(get(self.model)) as rows:
                row = rows.read(self.model, {"order_id": str(order_id)})
        except (StoreAway, SettingsError) as away:
            raise Unavailable("the store of statuses does not answer; send the request again") from away
        if row is None or row.get("customer_id") != request.user.pk:
            raise Http404(f"you have no order {str(order_id)!r} here yet; /api/dashboard/orders/ lists yours")
        return Response(OrderProgressSerializer(row).data)


class FeedView(ReadView):
    """What happened to the customer's orders lately."""

    model = "feed"

    @extend_schema(operation_id="feed_list", parameters=[AFTER], responses={200: FeedSerializer(many=True)} | PROBLEMS)
    def get(self, request: Request) -> Response:
        """List the newest hundred."""
        rows = FeedEntry.objects.filter(customer_id=request.user.pk).order_by("-at", "event_id")
        return Response(FeedSerializer(rows[:AT_MOST], many=True).data)


class StatementView(ReadView):
    """What was taken of the customer and not given back, entry by entry."""

    model = "statement"

    @extend_schema(operation_id="statement_read", parameters=[AFTER], responses={200: StatementSerializer} | PROBLEMS)
    def get(self, request: Request) -> Response:
        """Show it; who paid nothing has an empty one."""
        row = Statement.objects.filter(customer_id=request.user.pk).first() or Statement(
            customer_id=request.user.pk, balance=Decimal(0), entries=[]
        )
        return Response(StatementSerializer(row).data)


def _as_of(model: ReadModel) -> str:
    parts = [f"{stream}={at.position}@{_moment(at.applied_at)}" for stream, at in as_of(model).items()]
    return ", ".join(parts)


def _moment(at: datetime | None) -> str:
    return at.isoformat() if at else "never"
