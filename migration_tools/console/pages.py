"""The pages of one context and the board of all; each answers htmx with the part that lives."""

from typing import Any

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from migration_tools.conf import settings
from migration_tools.console import reading
from migration_tools.console.access import is_partial, may_move, staff_only
from migration_tools.console.bystanders import Bystander, all_bystanders, lag_series, shown
from migration_tools.console.drawing import Series
from migration_tools.overview.curves import answers, open_curve, use_curves
from migration_tools.overview.observing import hourly, samples
from migration_tools.routing import publishing
from migration_tools.routing.models import ProxyInstance, RoutingVersion
from migration_tools.routing.shadow.report import read_report
from migration_tools.state.models import JournalEntry, Request, Verification

PAGE = 40
# From so many on the burn-down is drawn by the hour.
HOURS_OF_A_CURVE = 3
#: Pages whose live part asks for itself again; those with a form to type into, or of the past, do not.
POLLED = frozenset({"board", "context", "service", "traffic", "sagas", "decommission", "request"})


def show(request: HttpRequest, name: str, told: dict[str, Any]) -> HttpResponse:
    """The page `name`, or for htmx only what lives of it."""
    told = {
        **told,
        "may_move": may_move(request),
        "runner": reading.runner_heard(),
        "page": name,
        "here": request.get_full_path(),
        "live": f"strangle_console/live_{name}.html",
        "polled": name in POLLED,
        "contexts": [] if is_partial(request) else [*reading.all_seen(), *all_bystanders()],
    }
    return render(request, told["live"] if is_partial(request) else "strangle_console/page.html", told)


@require_safe
@staff_only
def board(request: HttpRequest) -> HttpResponse:
    """Contexts by phases, with what blocks the next; below them the services that took nothing over."""
    return show(request, "board", {"seen": reading.all_seen(), "beside": all_bystanders()})


@require_safe
@staff_only
def context(request: HttpRequest, name: str) -> HttpResponse:
    """One context at a glance, or a service beside them."""
    of = shown(name)
    if isinstance(of, Bystander):
        told = {"of": of, "lags": lag_series(name), "requests": reading.open_requests(name)}
        return show(request, "service", told | {"unreachable": reading.unreachable(of)})
    last = Verification.objects.using(settings().DATABASE).filter(context=name).order_by("-id").first()
    hits = of.document.get("fenced", {})
    told = {
        "of": of,
        "unreachable": reading.unreachable(of),
        "lags": reading.lag_series(of),
        "fence": reading.fence_series(of),
        "hits": hits,
        "fenced": sum(hits.values()),
        "last": last,
        "report": reading.report_of(last.report) if last else None,
        "answers": answers(samples(name, minutes=6)),
        "route": publishing.current().contexts.get(name),
        "requests": reading.open_requests(name),
        "cutovers": reading.cutovers(name)[:3],
        "sagas": reading.sagas(name),
        "sagas_there": reading.sagas_of_the_service(of),
        "parked": reading.parked(of),
    }
    return show(request, "context", told)


@require_safe
@staff_only
def verifications(request: HttpRequest, name: str) -> HttpResponse:
    """All that is kept, the newest first."""
    rows = Verification.objects.using(settings().DATABASE).filter(context=name).order_by("-id")
    found = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    return show(request, "verifications", {"of": reading.seen(name), "found": found})


@require_safe
@staff_only
def verification(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """One verification: tables, and differences by class."""
    kept, report = _report(name, number)
    chosen = request.GET.get("class", "")
    places = list(enumerate(each for table in report.tables for each in table.differences))
    rows = [(place, each) for place, each in places if chosen in ("", each.kind.value)]
    found = Paginator(rows, PAGE).get_page(request.GET.get("page"))
    told = {"of": reading.seen(name), "kept": kept, "report": report, "chosen": chosen, "found": found}
    return show(request, "verification", told)


@require_safe
@staff_only
def difference(request: HttpRequest, name: str, number: int, place: int) -> HttpResponse:
    """One row that differs, both sides beside each other; values are shapes, as they were kept."""
    kept, report = _report(name, number)
    every = [(table, each) for table in report.tables for each in table.differences]
    if place >= len(every):
        raise Http404(f"verification {number} keeps {len(every)} differences")
    table, found = every[place]
    told = {"of": reading.seen(name), "kept": kept, "report": report, "table": table, "found": found}
    told |= {"place": place, "last_place": len(every) - 1, "sides": ("monolith", "service")}
    return show(request, "difference", told)


def _report(name: str, number: int) -> Any:
    kept = Verification.objects.using(settings().DATABASE).filter(context=name, pk=number).first()
    report = reading.report_of(kept.report) if kept else None
    if report is None:
        raise Http404(f"no verification {number} of {name!r} is kept that can be read")
    return kept, report


@require_safe
@staff_only
def traffic(request: HttpRequest, name: str) -> HttpResponse:
    """Routes and shares, what readers got from both sides, shadow reads."""
    report = read_report(name)
    told = {
        "of": reading.seen(name),
        "route": publishing.current().contexts.get(name),
        "version": publishing.current_version(),
        "answers": answers(samples(name, minutes=6)),
        "proxies": ProxyInstance.objects.using(settings().DATABASE).all(),
        "heard": {each.proxy for each in publishing.live_proxies()},
        "versions": RoutingVersion.objects.using(settings().DATABASE).all()[:12],
        "shadow": report,
        "fence": reading.fence_series(reading.seen(name)),
    }
    return show(request, "traffic", told)


@require_safe
@staff_only
def letters(request: HttpRequest, name: str) -> HttpResponse:
    """Parked events of both sides, and what became of earlier ones."""
    of = shown(name)
    return show(request, "letters", {"of": of, "sides": reading.letters(of)})


@require_safe
@staff_only
def sagas(request: HttpRequest, name: str) -> HttpResponse:
    """Open sagas that either side orchestrates, those that need somebody first, each with its log."""
    of = shown(name)
    return show(request, "sagas", {"of": of, "sides": reading.open_sagas(of)})


@require_safe
@staff_only
def decommission(request: HttpRequest, name: str) -> HttpResponse:
    """What stands between now and the end, and who still uses the old tables."""
    of = reading.seen(name)
    hour, long = samples(name, minutes=60), hourly(name)
    by_the_hour = len(long) > HOURS_OF_A_CURVE
    uses = use_curves(hour)
    tables = [
        {
            **each,
            "reads_curve": Series(title=f"reads of {each['table']}", values=uses.get(each["table"], ([], []))[0]),
            "writes_curve": Series(title=f"writes of {each['table']}", values=uses.get(each["table"], ([], []))[1]),
        }
        for each in of.document.get("uses", [])
    ]
    remaining = of.document.get("remaining", [])
    done = sum(1 for each in remaining if each["done"])
    told = {
        "of": of,
        "tables": tables,
        "users": of.document.get("users", []),
        "remaining": remaining,
        "done": done,
        "percent": 100 * done / len(remaining) if remaining else 0,
        "curve": Series(title="items left", values=open_curve(long if by_the_hour else hour)),
        "since": long[0].at if by_the_hour else None,
    }
    return show(request, "decommission", told)


@require_safe
@staff_only
def journal(request: HttpRequest, name: str) -> HttpResponse:
    """Who did what, when, why and with what evidence; cutovers with their pause."""
    rows = JournalEntry.objects.using(settings().DATABASE).filter(context=name).order_by("-id")
    told = {
        "of": shown(name),
        "found": Paginator(rows, PAGE).get_page(request.GET.get("page")),
        "cutovers": reading.cutovers(name),
        "asked": Request.objects.using(settings().DATABASE).filter(context=name).order_by("-id")[:10],
    }
    return show(request, "journal", told)
