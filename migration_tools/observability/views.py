"""Pages for machines: metrics behind a token, liveness and readiness for whoever starts and stops processes."""

import hmac

from django.db import DatabaseError, connections, transaction
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from migration_tools.conf import settings

TEXT = "text/plain; charset=utf-8"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class MetricsView(View):
    """GET /strangle/metrics/ with `Authorization: Bearer <METRICS_TOKEN>`; without that setting there is no page."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer the metrics of this side's database."""
        token = settings().METRICS_TOKEN
        if not token:
            return HttpResponse("set MIGRATION_TOOLS['METRICS_TOKEN']\n", status=404, content_type=TEXT)
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Bearer" or not hmac.compare_digest(given.encode(), token.encode()):
            return HttpResponse("unknown token\n", status=401, content_type=TEXT)
        try:
            from migration_tools.observability.exposition import exposed
        except ImportError:
            return HttpResponse("pip install 'django-strangler[prometheus]'\n", status=501, content_type=TEXT)
        return HttpResponse(exposed(), content_type=CONTENT_TYPE)


@require_safe
@never_cache
@transaction.non_atomic_requests
def livez(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers; asks no database, whose outage must not restart web processes."""
    return JsonResponse({"status": "alive"})


@require_safe
@never_cache
@transaction.non_atomic_requests
def readyz(request: HttpRequest) -> HttpResponse:
    """200 when this side's database answers and our schema migrations are applied, else 503 and what is missing."""
    try:
        connection = connections[settings().DATABASE]
        executor = MigrationExecutor(connection)
        ours = [key for key in executor.loader.graph.leaf_nodes() if key[0].startswith("strangle_")]
        missing = [f"{app}.{name}" for app, name in ours if (app, name) not in executor.loader.applied_migrations]
    except DatabaseError:
        return JsonResponse({"status": "database unreachable"}, status=503)
    if missing:
        return JsonResponse({"status": "run manage.py migrate", "missing": missing}, status=503)
    return JsonResponse({"status": "ready"})
