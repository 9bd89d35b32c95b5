"""Addresses of the console; `migration_tools.urls` takes them in where the console is installed."""

from django.urls import path

from migration_tools.console import assets, events, moving, pages

urlpatterns = [
    path("", pages.board, name="console"),
    path("assets/<slug:digest>/<str:name>", assets.asset, name="console-asset"),
    path("<str:name>/", pages.context, name="console-context"),
    path("<str:name>/verifications/", pages.verifications, name="console-verifications"),
    path("<str:name>/verifications/<int:number>/", pages.verification, name="console-verification"),
    path("<str:name>/verifications/<int:number>/<int:place>/", pages.difference, name="console-difference"),
    path("<str:name>/traffic/", pages.traffic, name="console-traffic"),
    path("<str:name>/events/", events.events, name="console-events"),
    path("<str:name>/letters/", pages.letters, name="console-letters"),
    path("<str:name>/sagas/", pages.sagas, name="console-sagas"),
    path("<str:name>/decommission/", pages.decommission, name="console-decommission"),
    path("<str:name>/journal/", pages.journal, name="console-journal"),
    path("<str:name>/ask/<slug:what>/", moving.ask, name="console-ask"),
    path("<str:name>/requests/<int:number>/", moving.asked, name="console-request"),
    path("<str:name>/requests/<int:number>/stop/", moving.stop, name="console-stop"),
]
