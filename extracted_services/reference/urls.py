"""The addresses of the reference service."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from . import api, health

urlpatterns = [
    path("api/reference/<str:kind>/", api.LatestView.as_view()),
    path("api/reference/<str:kind>/<int:version>/", api.VersionView.as_view()),
    path("api/reference/<str:kind>/of/<str:key>/", api.EffectiveView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
]

handler404 = "extracted_services.reference.problems.not_found"
handler500 = "extracted_services.reference.problems.server_error"
