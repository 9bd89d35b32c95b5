"""URLs of the map: `path("", include("migration_tools.sharding.urls"))` where the map is kept."""

from django.urls import path

from migration_tools.sharding.views import LocationView, WholeView

urlpatterns = [
    path("shard-location", LocationView.as_view(), name="shard-location"),
    path("shard-map/<str:name>/", WholeView.as_view(), name="shard-map"),
]
