"""The explorer of events: what one request caused, here at once, on the services by way of the operator's process."""

from django.db import DatabaseError, connections, transaction
from django.http import HttpRequest, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_http_methods

from migration_tools.conf import settings
from migration_tools.console.access import is_partial, staff_only
from migration_tools.console.bystanders import Shown, shown
from migration_tools.console.pages import show
from migration_tools.errors import StrangleError
from migration_tools.overview import requests
from migration_tools.overview.chain import SEARCHED, Link, read_chain, read_latest
from migration_tools.overview.story import Story, in_order, monolith
from migration_tools.state.models import Request, RequestState

LONGEST = 128
UNDER_WAY = frozenset({RequestState.WAITING, RequestState.RUNNING})


@require_http_methods(["GET", "HEAD", "POST"])
@staff_only
def events(request: HttpRequest, name: str) -> HttpResponseBase:
    """GET shows the newest records, or a chain as far as it is known; POST asks the operator's process for all of it.

    To look changes nothing, so it needs no permission; what is asked for is signed like everything else.
    """
    of = shown(name)
    given = request.POST if request.method == "POST" else request.GET
    correlation = given.get("correlation", "").replace("\x00", "").strip()[:LONGEST]
    mistake = ""
    if request.method == "POST" and correlation:
        try:
            # Within ATOMIC_REQUESTS a refusal must leave a transaction that the page can read in.
            with transaction.atomic(using=settings().DATABASE):
                requests.look(correlation, actor=f"{request.user.get_username()} (console)")
            place = reverse("strangle:console-events", args=[name])
            return redirect(f"{place}?{urlencode({'correlation': correlation})}")
        except (StrangleError, DatabaseError) as error:
            mistake = str(error) if isinstance(error, StrangleError) else "this process may not ask the operator's"
    told: dict[str, object] = {"of": of, "correlation": correlation, "searched": SEARCHED, "mistake": mistake}
    told |= _chain(correlation) if correlation else {"links": _newest(of)}
    if is_partial(request):
        return render(request, "strangle_console/part_chain.html", told)
    return show(request, "events", told)


def _chain(correlation: str) -> dict[str, object]:
    """The whole story, if it was looked for; else what this process can see of it."""
    place = monolith()
    row = requests.looked(correlation)
    story = _answer(row)
    links = story.links if story else in_order(read_chain(connections[place.alias], place, correlation))
    return {
        "links": links,
        "story": story,
        "row": row,
        "under_way": row is not None and row.state in UNDER_WAY,
        "sides": sorted({(each.side, each.place) for each in links}),
    }


def _answer(row: Request | None) -> Story | None:
    if row is None or row.result is None or "links" not in row.result:
        return None
    return Story.from_json(row.result)


def _newest(of: Shown) -> list[Link]:
    """Of both sides, the newest first; of the service what was last observed."""
    place = monolith()
    there = [Link.from_json(each) for each in of.document.get("service", {}).get("latest", [])]
    here = read_latest(connections[place.alias], place, of.name) if of.moves else []
    return sorted([*here, *there], key=lambda link: link.at, reverse=True)
