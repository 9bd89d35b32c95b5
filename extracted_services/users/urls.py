"""The addresses of the users service."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView

from migration_tools.routing.identity.views import ApiKeysView
from migration_tools.service import health

from . import api, tokens

urlpatterns = [
    path("api/accounts/me/", api.MeView.as_view()),
    path("api/accounts/me/public-id/", api.PublicIdView.as_view()),
    path("api/accounts/token/", tokens.TokenView.as_view()),
    path(".well-known/jwks.json", ApiKeysView.as_view()),
    path("internal/accounts/", api.AccountsView.as_view()),
    path("internal/accounts/recognise/", api.RecognitionView.as_view()),
    path("internal/accounts/<int:pk>/", api.AccountView.as_view()),
    path("api/schema/", SpectacularAPIView.as_view()),
    path("strangle/", include("migration_tools.urls")),
    path("livez", health.livez),
    path("readyz", health.readyz),
]

handler400 = "migration_tools.service.problems.bad_request"
handler404 = "migration_tools.service.problems.not_found"
handler500 = "migration_tools.service.problems.server_error"
