"""What services are told about identity: public keys, and by the monolith a new token for a session."""

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View

from migration_tools.conf import settings
from migration_tools.messaging.feed import consumer_of
from migration_tools.routing.identity.inquiry import SESSION_HEADER
from migration_tools.routing.identity.user import describe

KEYS_AGE_SECONDS = 60


class KeysView(View):
    """GET /strangle/identity/jwks.json: the keys that tokens are checked by; public, as such documents are."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer the JWKS document."""
        _only_where_tokens_are_signed()
        from migration_tools.routing.identity.keys import SESSIONS

        return _published(SESSIONS)


class ApiKeysView(View):
    """GET /.well-known/jwks.json of a side that signs tokens of API clients: the keys they are checked by."""

    http_method_names = ["get", "head"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer the JWKS document."""
        if not settings().IDENTITY_API_AUDIENCE:
            raise Http404
        from migration_tools.routing.identity.keys import API

        return _published(API)


@method_decorator(transaction.non_atomic_requests, name="dispatch")
class RenewView(View):
    """GET /strangle/identity/renew/ by a service, with a visitor's session key: a token, or null for nobody.

    It needs a token of FEED_TOKENS: a page's script could otherwise read what the cookie hides from it. The key
    comes in a header, so that no middleware takes it for a visit; the session is read as in Note [a read logs nobody
    out].
    """

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        """Answer `{"token": …}`."""
        _only_where_tokens_are_signed()
        if consumer_of(request) is None:
            return JsonResponse({"detail": "present the token that FEED_TOKENS holds for this service"}, status=401)
        from migration_tools.routing.identity.issuing import issue
        from migration_tools.routing.identity.sessions import session_user

        session_key = request.headers.get(SESSION_HEADER, "")
        user = session_user(session_key) if session_key else None
        answer = JsonResponse({"token": issue(describe(user), session_key) if user is not None else None})
        answer["Cache-Control"] = "no-store"
        return answer


def _published(purpose: bytes) -> HttpResponse:
    from migration_tools.routing.identity.keys import key_document, signing_keys

    answer = JsonResponse(key_document(signing_keys(purpose)), content_type="application/jwk-set+json")
    answer["Cache-Control"] = f"public, max-age={KEYS_AGE_SECONDS}"
    return answer


def _only_where_tokens_are_signed() -> None:
    # A service mounts the same URLs and has no users to speak of.
    if settings().IDENTITY != "signed" or settings().IDENTITY_URL or settings().IDENTITY_JWKS:
        raise Http404
