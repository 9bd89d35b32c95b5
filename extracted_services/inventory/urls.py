"""The addresses of the inventory service."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from migration_tools.service import health

from . import api, stock

urlpatterns = [
    path("api/stock/<int:product>/", api.StockView.as_view()),
    path("api/stock/<int:product>/deliveries/", api.DeliveryView.as_view()),
    path("api/stock/reservations/", api.ReservationsView.as_view()),
    path("api/stock/reservations/<uuid:public_id>/", api.ReservationView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.ready_with(stock.answers)),
]

handler400 = "migration_tools.service.problems.bad_request"
handler404 = "migration_tools.service.problems.not_found"
handler500 = "migration_tools.service.problems.server_error"
