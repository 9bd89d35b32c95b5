"""Who may look, who may ask for moves, and what browsers may load: the door of every page of the console."""

import functools
from collections.abc import Callable
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache

View = Callable[..., HttpResponseBase]

MOVE = "strangle_state.move_context"
#: Everything comes from here: no other host, no inline script, no inline style, no frame around it.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def staff_only(view: View) -> View:
    """Let staff in, send strangers to log in, refuse customers."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        user: Any = request.user
        if not user.is_authenticated:
            if is_partial(request):
                # A page that polls is told to go there whole, not to show a form in its middle.
                return HttpResponse(status=204, headers={"HX-Refresh": "true"})
            return redirect_to_login(request.get_full_path())
        if not (user.is_active and user.is_staff):
            raise PermissionDenied("the console is for staff")
        response = view(request, *args, **kwargs)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return never_cache(guarded)


def movers_only(view: View) -> View:
    """Let staff in who have the permission to ask for moves."""

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not may_move(request):
            return render(request, "strangle_console/refused.html", {"permission": MOVE}, status=403)
        return view(request, *args, **kwargs)

    return staff_only(guarded)


def may_move(request: HttpRequest) -> bool:
    """Whether the one who looks may also ask for moves."""
    user: Any = request.user
    return bool(user.is_active and user.is_staff and user.has_perm(MOVE))


def is_partial(request: HttpRequest) -> bool:
    """Whether htmx asks for the part of the page that lives."""
    return request.headers.get("HX-Request") == "true"
