"""The gateway's HTTP API: one call a screen, each for the caller's own data."""

from http import HTTPStatus
from typing import Any

from django.db.models import Max, Sum
from django.http import Http404, HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.composition.composing import Composed
from migration_tools.composition.declaration import Composition
from migration_tools.composition.fields import BadFields
from migration_tools.composition.problems import PartFailed, document_of
from migration_tools.service.problems import MEDIA_TYPE, described

from . import screens
from .models import KnownProduct, KnownUser, OrderedLine
from .serializers import DashboardSerializer, MobileSerializer, OrderedProductsSerializer

PROBLEMS = described(
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)
FIELDS = OpenApiParameter("fields", str, description="which parts, as customer,recent_orders.id; default: all")


class DashboardView(APIView):
    """The customer's dashboard."""

    consistency = "eventual"

    @extend_schema(operation_id="dashboard", parameters=[FIELDS], responses={200: DashboardSerializer} | PROBLEMS)
    def get(self, request: Request, customer: int) -> HttpResponse:
        """Compose it; parts whose service is away are older or empty, and named in `_errors`."""
        _own(request, customer)
        return _answer(screens.DASHBOARD, request, lambda composed: composed.document())


class WebView(APIView):
    """The dashboard of the web shop: everything."""

    consistency = "eventual"

    @extend_schema(operation_id="web_dashboard", parameters=[FIELDS], responses={200: DashboardSerializer} | PROBLEMS)
    def get(self, request: Request) -> HttpResponse:
        """Compose the caller's own."""
        return _answer(screens.DASHBOARD, request, lambda composed: composed.document())


class MobileView(APIView):
    """The dashboard of the mobile app: the same data, less of it."""

    consistency = "eventual"

    @extend_schema(operation_id="mobile_dashboard", responses={200: MobileSerializer} | PROBLEMS)
    def get(self, request: Request) -> HttpResponse:
        """Compose the caller's own; nobody is asked for what is not shown."""
        fields = "customer.name,recent_orders,products"
        return _answer(screens.DASHBOARD, request, lambda composed: screens.mobile(composed.document()), fields)


class OrderedProductsView(APIView):
    """Products ordered by a user, asked of three services now."""

    consistency = "session"

    @extend_schema(operation_id="ordered_products", responses={200: OrderedProductsSerializer} | PROBLEMS)
    def get(self, request: Request, user: int) -> HttpResponse:
        """Verify the user, take what was ordered, fetch the products."""
        _own(request, user)
        return _answer(screens.ORDERED_PRODUCTS, request, _ordered)


class ProjectedProductsView(APIView):
    """Products ordered by a user, as events told: answered while every other service is away."""

    consistency = "eventual"

    @extend_schema(
        operation_id="projected_products",
        responses={200: OrderedProductsSerializer} | described(HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request, user: int) -> HttpResponse:
        """Sum what is kept; `as_of` is when the newest order was placed that the gateway has heard of."""
        _own(request, user)
        if not KnownUser.objects.filter(pk=user).exists():
            raise Http404(f"user {user!r} is not known")
        sums = OrderedLine.objects.filter(user=user).values_list("product").annotate(Sum("quantity"))
        quantities = dict(sums.order_by("product"))
        names = dict(KnownProduct.objects.filter(pk__in=quantities).values_list("pk", "name"))
        heard = OrderedLine.objects.aggregate(newest=Max("placed_at"))["newest"]
        rows = [
            {"product": product, "name": names.get(product), "quantity": quantity}
            for product, quantity in quantities.items()
        ]
        return Response(OrderedProductsSerializer({"products": rows, "as_of": heard}).data)


def _ordered(composed: Composed) -> dict[str, Any]:
    document = composed.document()
    answer: dict[str, Any] = {"products": screens.ordered_products(document), "as_of": None}
    return answer | ({"_errors": document["_errors"]} if "_errors" in document else {})


def _answer(composition: Composition, request: Request, show: Any, fields: str | None = None) -> HttpResponse:
    try:
        composed = screens.ask(composition, request._request, fields=fields or request.query_params.get("fields"))
    except BadFields as error:
        raise ValidationError({"fields": [str(error)]}) from error
    except PartFailed as failure:
        return Response(document_of(failure), status=failure.status, content_type=MEDIA_TYPE)
    response = Response(show(composed))
    response["Server-Timing"] = composed.report.server_timing()
    response["Cache-Control"] = "private, no-store"
    return response


def _own(request: Request, user: int) -> None:
    """Others' data is as if it were not there."""
    if str(request.user.pk) != str(user):
        raise Http404(f"you are not user {user!r}")
