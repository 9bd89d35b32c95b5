"""URLs of the toolkit: `path("strangle/", include("migration_tools.urls"))` on both sides."""

from django.apps import apps
from django.urls import URLPattern, URLResolver, include, path

from migration_tools.messaging.feed import FeedView
from migration_tools.observability.views import MetricsView, livez, readyz
from migration_tools.routing.identity.views import KeysView, RenewView
from migration_tools.transfer.foreign_view import ForeignView

app_name = "strangle"

urlpatterns: list[URLPattern | URLResolver] = [
    path("feed/<str:stream>/", FeedView.as_view(), name="feed"),
    path("identity/jwks.json", KeysView.as_view(), name="identity-keys"),
    path("identity/renew/", RenewView.as_view(), name="identity-renew"),
    path("metrics/", MetricsView.as_view(), name="metrics"),
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("ingest/<str:feed>/", ForeignView.as_view(), name="ingest"),
]
if apps.is_installed("migration_tools.console"):
    urlpatterns.append(path("console/", include("migration_tools.console.urls")))
