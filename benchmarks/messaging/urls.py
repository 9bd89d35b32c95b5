"""The toolkit's own pages, which is all that the shop of this benchmark serves."""

from django.urls import include, path

urlpatterns = [path("strangle/", include("migration_tools.urls"))]
