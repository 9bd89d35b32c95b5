"""The addresses of the catalog service."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from migration_tools.service import health

from . import api

urlpatterns = [
    path("api/products/", api.ProductsView.as_view()),
    path("api/products/search/", api.SearchView.as_view()),
    path("api/products/<int:pk>/", api.ProductView.as_view()),
    path("api/products/v2/<int:pk>/", api.ProductV2View.as_view()),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
]

handler400 = "migration_tools.service.problems.bad_request"
handler404 = "migration_tools.service.problems.not_found"
handler500 = "migration_tools.service.problems.server_error"
