"""Oscar's own addresses, and the toolkit's."""

from django.urls import include, path

from tests.oscar.urls import urlpatterns as of_oscar

urlpatterns = [path("strangle/", include("migration_tools.urls")), *of_oscar]
