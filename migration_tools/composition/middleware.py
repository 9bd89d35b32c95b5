"""Read the budget of each request, and refuse what comes too late or from too deep a chain."""

from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.utils.deprecation import MiddlewareMixin

from migration_tools.composition import budget, problems
from migration_tools.conf import settings


class BudgetMiddleware(MiddlewareMixin):
    """On every service that calls others or is called by them; views find the budget by `budget.current()`."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Run the view under the request's budget."""
        if self.async_mode:
            return self._answer_async(request)
        try:
            given = budget.read(request.headers, settings().DEADLINE_SECONDS)
        except (budget.ChainTooDeep, budget.DeadlineExceeded) as error:
            return _refused(error)
        with budget.spending(given):
            response: Any = self.get_response(request)
        return _marked(response, given)

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        try:
            given = budget.read(request.headers, settings().DEADLINE_SECONDS)
        except (budget.ChainTooDeep, budget.DeadlineExceeded) as error:
            return _refused(error)
        with budget.spending(given):
            answer: Any = self.get_response(request)
            response = await answer
        return _marked(response, given)


def _refused(error: Exception) -> JsonResponse:
    status = HTTPStatus.LOOP_DETECTED if isinstance(error, budget.ChainTooDeep) else HTTPStatus.GATEWAY_TIMEOUT
    return JsonResponse(problems.document(status, str(error)), status=status, content_type=problems.MEDIA_TYPE)


def _marked(response: HttpResponseBase, given: budget.Budget) -> HttpResponseBase:
    response.headers[budget.DEPTH_HEADER] = str(given.depth)
    return response
