"""The public HTTP API of reference data: the newest version, any version for good, and what held on a day."""

import datetime as dt
from http import HTTPStatus
from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from migration_tools.replication.effective import effective
from migration_tools.service.problems import described

from .models import Kind, Snapshot
from .serializers import RowSerializer, SnapshotSerializer

TTL_SECONDS = 60
FOREVER = "public, max-age=31536000, immutable"
LARGEST_VERSION = 2**31 - 1
KIND = OpenApiParameter("kind", str, OpenApiParameter.PATH, enum=Kind.values)


class LatestView(APIView):
    """The newest version of a kind."""

    consistency = "strong"

    @extend_schema(
        operation_id="reference_latest",
        parameters=[KIND],
        responses={200: SnapshotSerializer, 304: None} | described(HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request, kind: str) -> Response:
        """Give all rows, or 304 to who has this version; good for a minute without asking."""
        snapshot = _newest(kind)
        return _shown(request, snapshot, kind, f"public, max-age={TTL_SECONDS}, must-revalidate")


class VersionView(APIView):
    """One version, which never changes."""

    consistency = "strong"

    @extend_schema(
        operation_id="reference_version",
        parameters=[KIND],
        responses={200: SnapshotSerializer, 304: None} | described(HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request, kind: str, version: int) -> Response:
        """Give all rows; good for ever."""
        known = kind in Kind.values and version <= LARGEST_VERSION
        snapshot = Snapshot.objects.filter(kind=kind, version=version).first() if known else None
        return _shown(request, snapshot, kind, FOREVER)


class EffectiveView(APIView):
    """What held for one key on a day."""

    consistency = "strong"

    @extend_schema(
        operation_id="reference_effective",
        parameters=[KIND, OpenApiParameter("on", dt.date, description="the day; default: today, UTC")],
        responses={200: RowSerializer} | described(HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND),
    )
    def get(self, request: Request, kind: str, key: str) -> Response:
        """Give the row."""
        asked = request.query_params.get("on")
        try:
            day = dt.date.fromisoformat(asked) if asked else dt.datetime.now(dt.UTC).date()
        except ValueError:
            raise ValidationError({"detail": f"on is {asked!r}; it must be a day, as 2025-01-31"}) from None
        snapshot = _newest(kind)
        row = effective(snapshot.rows if snapshot else [], key, day)
        if row is None:
            raise Http404(f"{kind} has nothing for {key!r} on {day}")
        return Response(row)


def _newest(kind: str) -> Snapshot | None:
    return Snapshot.objects.filter(kind=kind).order_by("-version").first() if kind in Kind.values else None


def _shown(request: Request, snapshot: Snapshot | None, kind: str, caching: str) -> Response:
    if snapshot is None:
        raise Http404(f"there is no such version of {kind!r}")
    tag = f'"{snapshot.kind}-{snapshot.version}"'
    known = [each.strip().removeprefix("W/") for each in request.headers.get("If-None-Match", "").split(",")]
    body: dict[str, Any] = {"kind": snapshot.kind, "version": snapshot.version, "results": snapshot.rows}
    unchanged = tag in known or "*" in known
    response = Response(None if unchanged else body, status=HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK)
    response["ETag"] = tag
    response["Cache-Control"] = caching
    return response
