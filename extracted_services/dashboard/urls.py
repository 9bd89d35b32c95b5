"""The addresses of the dashboard service."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from . import api, health

urlpatterns = [
    path("api/dashboard/", api.DashboardView.as_view()),
    path("api/dashboard/orders/", api.OrdersView.as_view()),
    path("api/dashboard/orders/<uuid:order_id>/", api.OrderView.as_view()),
    path("api/feed/", api.FeedView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
]

handler400 = "extracted_services.dashboard.problems.bad_request"
handler404 = "extracted_services.dashboard.problems.not_found"
handler500 = "extracted_services.dashboard.problems.server_error"
