"""The addresses of the dashboard service."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from migration_tools.service import health

from . import api

urlpatterns = [
    path("api/dashboard/", api.DashboardView.as_view()),
    path("api/dashboard/orders/", api.OrdersView.as_view()),
    path("api/dashboard/orders/<uuid:order_id>/", api.OrderView.as_view()),
    path("api/dashboard/orders/<uuid:order_id>/status/", api.StatusView.as_view()),
    path("api/dashboard/statement/", api.StatementView.as_view()),
    path("api/feed/", api.FeedView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
]

handler400 = "migration_tools.service.problems.bad_request"
handler404 = "migration_tools.service.problems.not_found"
handler500 = "migration_tools.service.problems.server_error"
