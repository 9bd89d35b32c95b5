"""The addresses of the orders service."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from migration_tools.service import health

from . import api

urlpatterns = [
    path("api/orders/", api.OrdersView.as_view()),
    path("api/orders/checkouts/", api.CheckoutsView.as_view()),
    path("api/orders/checkouts/<uuid:public_id>/", api.CheckoutView.as_view()),
    path("api/orders/checkouts/<uuid:public_id>/withdraw/", api.WithdrawView.as_view()),
    path("api/orders/products/", api.OrderedProductsView.as_view()),
    path("api/orders/<uuid:public_id>/", api.OrderView.as_view()),
    path("api/orders/<uuid:public_id>/pay/", api.PayView.as_view()),
    path("api/orders/<uuid:public_id>/ship/", api.ShipView.as_view()),
    path("api/orders/<uuid:public_id>/cancel/", api.CancelView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
]

handler400 = "migration_tools.service.problems.bad_request"
handler404 = "migration_tools.service.problems.not_found"
handler500 = "migration_tools.service.problems.server_error"
