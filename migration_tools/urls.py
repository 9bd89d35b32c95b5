"""URLs of the toolkit: `path("strangle/", include("migration_tools.urls"))` on both sides."""

from django.urls import path

from migration_tools.messaging.feed import FeedView

app_name = "strangle"

urlpatterns = [path("feed/<str:stream>/", FeedView.as_view(), name="feed")]
