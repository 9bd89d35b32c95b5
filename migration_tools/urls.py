"""URLs of the toolkit: `path("strangle/", include("migration_tools.urls"))` on both sides."""

from django.urls import path

from migration_tools.messaging.feed import FeedView
from migration_tools.messaging.metrics import MetricsView
from migration_tools.routing.identity.views import KeysView, RenewView
from migration_tools.transfer.foreign_view import ForeignView

app_name = "strangle"

urlpatterns = [
    path("feed/<str:stream>/", FeedView.as_view(), name="feed"),
    path("identity/jwks.json", KeysView.as_view(), name="identity-keys"),
    path("identity/renew/", RenewView.as_view(), name="identity-renew"),
    path("metrics/", MetricsView.as_view(), name="metrics"),
    path("ingest/<str:feed>/", ForeignView.as_view(), name="ingest"),
]
