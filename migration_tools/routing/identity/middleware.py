"""Two middlewares: the monolith's keeps the identity cookie in step with its login, a service's believes it."""

from typing import Any, Literal

from django.conf import settings as django_settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.cache import patch_vary_headers
from django.utils.deprecation import MiddlewareMixin
from django.utils.functional import SimpleLazyObject

from migration_tools.conf import settings
from migration_tools.routing.identity.inquiry import Unreachable
from migration_tools.routing.identity.reading import COOKIE, finding, identify
from migration_tools.routing.identity.user import StranglerUser, describe
from migration_tools.routing.table import BUCKET_COOKIE, user_bucket_key

BUCKET_SECONDS = 365 * 86_400


class IdentityCookieMiddleware(MiddlewareMixin):
    """In the monolith, after AuthenticationMiddleware: the cookie says who is logged in, anew in each half of its life.

    It also gives a user the same bucket on every device, so that one side answers all of them.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Set the cookie when it is missing, old or another's; take it away from who is logged out."""
        if not settings().IDENTITY or _is_unknown_visitor(request):
            return response
        user = _current_user(request)
        if user is None:
            if COOKIE in request.COOKIES:
                forget(response)
            return response
        if settings().IDENTITY == "signed":
            self._renew(request, response, user)
        bucket = user_bucket_key(user.pk)
        if request.COOKIES.get(BUCKET_COOKIE) != bucket:
            # For this host only, as the proxy sets it: a second one for the domain would compete with it.
            response.set_cookie(
                BUCKET_COOKIE,
                bucket,
                max_age=BUCKET_SECONDS,
                secure=bool(django_settings.SESSION_COOKIE_SECURE),
                httponly=True,
                samesite="Lax",
            )
        return response

    def _renew(self, request: HttpRequest, response: HttpResponseBase, user: StranglerUser) -> None:
        from migration_tools.routing.identity.issuing import is_current, issue

        session_key = request.session.session_key
        if session_key and not is_current(request.COOKIES.get(COOKIE, ""), user, session_key):
            remember(response, issue(user, session_key))


class Stranger:
    """Nobody: what `request.user` is for a visitor whom the monolith does not know."""

    pk = id = None
    is_authenticated: Literal[False] = False
    is_anonymous: Literal[True] = True
    is_active = is_staff = False

    def get_username(self) -> str:
        return ""

    def __str__(self) -> str:
        return "stranger"


class IdentityMiddleware(MiddlewareMixin):
    """In a service: `request.user` as the monolith knows them, found when first asked for; no table, no session.

    It answers 503 when that cannot be known, and hands a renewed token to the browser.
    """

    def process_request(self, request: HttpRequest) -> None:
        """Give the request a user that is looked up when somebody asks."""
        lazy: Any = SimpleLazyObject(lambda: identify(request) or Stranger())
        request.user = lazy

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Nobody is logged out because the monolith cannot be asked."""
        if not isinstance(exception, Unreachable):
            return None
        detail = "who you are cannot be found out at the moment; send the request again"
        document = {"type": "about:blank", "title": "Try again", "status": 503, "detail": detail}
        response = JsonResponse(document, status=503, content_type="application/problem+json")
        response["Retry-After"] = "2"
        response["Cache-Control"] = "no-store"
        return response

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Pass on what became of the cookie."""
        found = finding(request)
        if found is None:
            return response
        conf = settings()
        believed = conf.IDENTITY_ISSUERS or conf.IDENTITY_API_AUDIENCE
        patch_vary_headers(response, ("Cookie", "Authorization") if believed else ("Cookie",))
        if found.renewed is not None:
            remember(response, found.renewed)
        elif found.forget:
            forget(response)
        return response


def remember(response: HttpResponseBase, token: str) -> None:
    """Set the cookie; it outlives its token, so that an ended one can be shown while the monolith is away."""
    conf = settings()
    response.set_cookie(
        COOKIE,
        token,
        max_age=int(conf.IDENTITY_LIFE_SECONDS + conf.IDENTITY_GRACE_SECONDS),
        domain=django_settings.SESSION_COOKIE_DOMAIN,
        secure=bool(django_settings.SESSION_COOKIE_SECURE),
        httponly=True,
        samesite="Lax",
    )


def forget(response: HttpResponseBase) -> None:
    """Take the cookie away."""
    response.delete_cookie(COOKIE, domain=django_settings.SESSION_COOKIE_DOMAIN, samesite="Lax")


def _is_unknown_visitor(request: HttpRequest) -> bool:
    """No cookie of ours and no session: asking for `request.user` would only make pages vary by cookie."""
    if COOKIE in request.COOKIES or django_settings.SESSION_COOKIE_NAME in request.COOKIES:
        return False
    session = getattr(request, "session", None)
    return session is not None and not session.accessed


def _current_user(request: HttpRequest) -> StranglerUser | None:
    user = getattr(request, "user", None)
    return describe(user) if user is not None and user.is_authenticated else None
