"""Ask for a move: a form with plan, gates and typed confirmation; then how the command fares."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from migration_tools.conf import settings
from migration_tools.console import reading
from migration_tools.console.access import movers_only, staff_only
from migration_tools.console.bystanders import Shown, all_bystanders, shown
from migration_tools.console.pages import show
from migration_tools.errors import StrangleError
from migration_tools.overview import requests
from migration_tools.overview.requests import Wanted
from migration_tools.state.models import Request
from migration_tools.state.phase import FORWARD, Phase

#: What a form keeps of what it was asked about: which of the things, on which side.
ABOUT = ("stream", "group", "key", "position", "event", "saga", "side")


def _letter(of: Shown, form: dict[str, str], **which: Any) -> Wanted:
    return requests.letter(
        of.name,
        stream=_stream(form),
        group=form.get("group", ""),
        event=form.get("event", ""),
        reason=form.get("reason", ""),
        service=_in_the_service(of, form),
        **which,
    )


def _stream(form: dict[str, str]) -> str:
    """Of a service's parked events; those of the monolith that a context's page shows are the context's."""
    stream = form.get("stream", "") if form.get("side") == "service" else ""
    if stream.startswith("-"):
        raise ValueError(f"{stream!r} is no stream")
    return stream


def _saga(of: Shown, form: dict[str, str], what: str) -> Wanted:
    reason, service = form.get("reason", ""), _in_the_service(of, form)
    return requests.saga(of.name, form.get("saga", ""), what, reason=reason, service=service)


def _in_the_service(of: Shown, form: dict[str, str]) -> bool:
    """Whether the form is about the service's side; of a service beside the contexts there is no other."""
    return not of.moves or form.get("side") == "service"


#: What the address names: how the wish is made of a context and the form's fields.
MOVES: dict[str, Callable[[reading.Seen, dict[str, str]], Wanted]] = {
    "forward": lambda of, form: requests.forward(of.row, percent=_percent(form, 100), reason=form.get("reason", "")),
    "back": lambda of, form: requests.back(of.row, reason=form.get("reason", "")),
    "share": lambda of, form: requests.share(of.row, _percent(form, 0), reason=form.get("reason", "")),
    "verify": lambda of, form: requests.verification(of.row),
    "pause": lambda of, form: requests.wish(of.name, "pause", reason=form.get("reason", "")),
    "resume": lambda of, form: requests.wish(of.name, "resume", reason=form.get("reason", "")),
    "cancel": lambda of, form: requests.wish(of.name, "cancel", reason=form.get("reason", "")),
}
#: The same of what waits on either side, and in services beside the contexts.
SETTLES: dict[str, Callable[[Shown, dict[str, str]], Wanted]] = {
    "replay": lambda of, form: _letter(of, form, key=form.get("key", "")),
    "skip": lambda of, form: _letter(of, form, position=int(form.get("position") or 0)),
    "retry": lambda of, form: _saga(of, form, "retry"),
    "compensate": lambda of, form: _saga(of, form, "compensate"),
}


@require_http_methods(["GET", "POST"])
@movers_only
def ask(request: HttpRequest, name: str, what: str) -> HttpResponseBase:
    """GET shows what would happen; POST with the phrase typed asks for it."""
    maker, of = _maker(name, what)
    given: dict[str, str] = {**request.GET.dict(), **request.POST.dict()}
    mistake = ""
    try:
        wanted = maker({"reason": "…", **given} if request.method == "GET" else given)
        if request.method == "POST":
            if given.get("phrase", "").strip().lower() == wanted.phrase.lower():
                row = requests.ask(wanted, actor=f"{request.user.get_username()} (console)")
                return redirect("strangle:console-request", name, row.pk)
            mistake = f"type “{wanted.phrase}” to confirm"
    except (StrangleError, ValueError) as error:
        mistake = str(error)
        wanted = Wanted(context=name, command="", title=f"{what} {name}", phrase="")
    told = _form(of, what, wanted, given, mistake)
    return render(request, "strangle_console/page.html", told, status=422 if mistake else 200)


def _maker(name: str, what: str) -> tuple[Callable[[dict[str, str]], Wanted], Shown]:
    """How a wish is made of the form's fields, and what it is about.

    Raises:
        Http404: nothing is called so, or can be asked for of a service beside the contexts.
    """
    if what in SETTLES:
        of = shown(name)
        return partial(SETTLES[what], of), of
    if what in MOVES:
        context = reading.seen(name)
        return partial(MOVES[what], context), context
    raise Http404(f"nothing is called {what!r}")


def _form(of: Shown, what: str, wanted: Wanted, given: dict[str, str], mistake: str) -> dict[str, Any]:
    document = of.document
    coming = of.coming
    plans = {"forward": document.get("plan", []), "back": (document.get("way_back") or {}).get("plan", [])}
    following = FORWARD.get(Phase(of.row.phase)) if isinstance(of, reading.Seen) else None
    shares = what == "share" or (what == "forward" and following is Phase.SWITCH_READS)
    return {
        "of": of,
        "what": what,
        "wanted": wanted,
        "line": wanted.line.replace("--reason=…", "").replace("'--reason=…'", "").strip() if wanted.command else "",
        "plan": plans.get(what, []),
        "gates": coming["gates"] if what == "forward" and coming else [],
        "blocking": (document.get("way_back") or {}).get("blocking", []) if what == "back" else [],
        "shares": shares,
        "given": given,
        "about": {key: given[key] for key in ABOUT if given.get(key)},
        "mistake": mistake,
        "page": "ask",
        "live": "strangle_console/live_ask.html",
        "may_move": True,
        "runner": reading.runner_heard(),
        "contexts": [*reading.all_seen(), *all_bystanders()],
        "needs_reason": what in {"skip", "compensate"},
    }


def _percent(form: dict[str, str], default: float) -> float:
    return float(form.get("percent") or default)


@require_safe
@staff_only
def asked(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """How a request fares: what the command says while it runs, its result when it ended."""
    row = get_object_or_404(Request.objects.using(settings().DATABASE), pk=number, context=name)
    return show(request, "request", {"of": shown(name), "row": row})


@require_POST
@movers_only
def stop(request: HttpRequest, name: str, number: int) -> HttpResponseBase:
    """Ask the runner to end a command that runs; it saves its checkpoint first."""
    row = get_object_or_404(Request.objects.using(settings().DATABASE), pk=number, context=name)
    requests.ask(requests.stop(name, row.pk), actor=f"{request.user.get_username()} (console)")
    return redirect("strangle:console-request", name, number)
