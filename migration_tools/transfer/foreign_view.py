"""The door for connectors that deliver by HTTP: answered when what was sent is committed."""

import hmac

from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from migration_tools.conf import settings
from migration_tools.errors import StrangleError
from migration_tools.messaging.foreign.lines import values_in


@method_decorator([csrf_exempt, transaction.non_atomic_requests], name="dispatch")
class ForeignView(View):
    """POST /strangle/ingest/<feed>/ with `Authorization: Bearer <TOKEN of the feed>`: one change, or an array of them.

    200: all of it is committed, or was known. 409: it cannot be applied, and will not be by itself.
    """

    http_method_names = ["post"]

    def post(self, request: HttpRequest, feed: str) -> HttpResponse:
        """Apply the body's changes in one transaction."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        expected = str(settings().FOREIGN.get(feed, {}).get("TOKEN", ""))
        if scheme != "Bearer" or not expected or not hmac.compare_digest(expected.encode(), token.encode()):
            return _problem(401, "unknown token", "present the TOKEN that FOREIGN holds for this feed")
        # Here, so that a side whose Django is driven by psycopg2 can include the toolkit's URLs.
        from migration_tools.transfer.foreign import ForeignFeed

        try:
            done = ForeignFeed(feed).ingest(values_in(request.body))
        except StrangleError as error:
            return _problem(409, "not applied", str(error))
        return JsonResponse({"applied": done.applied, "known": done.known, "ignored": done.ignored})


def _problem(status: int, title: str, detail: str) -> JsonResponse:
    document = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return JsonResponse(document, status=status, content_type="application/problem+json")
