"""The addresses of the gateway."""

from django.conf import settings
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from migration_tools.service import health

from . import api

# A gateway to everything is one more monolith: each slice can be a gateway, and a process, of its own.
SLICES = {
    "screens": [
        path("api/customers/<int:customer>/dashboard/", api.DashboardView.as_view()),
        path("api/web/dashboard/", api.WebView.as_view()),
        path("api/mobile/dashboard/", api.MobileView.as_view()),
    ],
    "ordered_products": [
        path("api/users/<int:user>/ordered-products/", api.OrderedProductsView.as_view()),
        path("api/users/<int:user>/ordered-products/projected/", api.ProjectedProductsView.as_view()),
    ],
}

urlpatterns = [
    *(view for name, views in SLICES.items() if settings.SLICE in ("", name) for view in views),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
]

handler400 = "migration_tools.service.problems.bad_request"
handler404 = "migration_tools.service.problems.not_found"
handler500 = "migration_tools.service.problems.server_error"
