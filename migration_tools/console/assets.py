"""What the pages load: a style sheet, a script, an icon of ours, and the htmx of django-htmx; no collectstatic."""

import hashlib
from functools import cache
from importlib.resources import files

from django.http import Http404, HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

KINDS = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "htmx.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
YEAR_SECONDS = 31_536_000


@require_safe
def asset(request: HttpRequest, name: str, digest: str) -> HttpResponse:
    """One of them; its address holds its digest, so browsers keep it for good."""
    if name not in KINDS:
        raise Http404(f"the console has no file {name!r}")
    response = HttpResponse(content(name), content_type=KINDS[name])
    response["Cache-Control"] = f"public, max-age={YEAR_SECONDS}, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    return response


@cache
def content(name: str) -> bytes:
    """The file's bytes."""
    if name == "htmx.js":
        return files("django_htmx").joinpath("static/django_htmx/htmx-2.min.js").read_bytes()
    return files("migration_tools.console").joinpath(f"assets/{name}").read_bytes()


@cache
def digest_of(name: str) -> str:
    """A short name of the file's content."""
    return hashlib.sha256(content(name)).hexdigest()[:12]
