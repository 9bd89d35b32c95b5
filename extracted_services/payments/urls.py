"""The addresses of the payments service."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from migration_tools.service import health

from . import api

urlpatterns = [
    path("api/payments/", api.PaymentsView.as_view()),
    path("api/payments/account/", api.AccountView.as_view()),
    path("api/payments/accounts/<int:payer>/limit/", api.LimitView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
]

handler400 = "migration_tools.service.problems.bad_request"
handler404 = "migration_tools.service.problems.not_found"
handler500 = "migration_tools.service.problems.server_error"
