"""Who the customers are, by whoever owns them: this database, or the users service over HTTP.

Sessions stay in the monolith, so that signing up and logging in are its requests, whoever owns the customers. While
they change hands neither side takes a write; then the question is put again until one does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar

import httpx2
import stamina
from django.conf import settings
from django.db import OperationalError, transaction
from rest_framework.exceptions import APIException, ValidationError

from legacy_monolith.accounts.models import User
from migration_tools.capture.ownership import owned_here
from migration_tools.routing.middleware import is_fenced

CONTEXT = "users"
PATIENCE_SECONDS = 10.0
ANSWER_SECONDS = 5.0
NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)

Answer = TypeVar("Answer")


class NotNow(APIException):
    """The customers change hands, or their owner does not answer: the same may be asked again in a moment."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    default_code = "not_now"
    wait = 1  # seconds, for Retry-After


class Unanswered(APIException):
    """The users service took the request and did not answer: it may have done it or not, and is not asked again."""

    status_code = HTTPStatus.BAD_GATEWAY
    default_detail = "the users service did not answer; you may have an account now: log in, or sign up again"
    default_code = "unanswered"


class Unknown(Exception):
    """The users service knows nobody of this number or password."""


class Invalid(ValidationError):
    """The users service does not take what it was told; `detail` has sentences by field."""


def ask(here: Callable[[], Answer], there: Callable[[], Answer]) -> Answer:
    """Act on the rows here, in a transaction that a hand-over may undo, or there; by the owner at this moment.

    Raises:
        NotNow: for PATIENCE_SECONDS nobody took it.
    """
    for attempt in stamina.retry_context(
        on=NotNow, attempts=None, timeout=PATIENCE_SECONDS, wait_initial=0.02, wait_max=0.25, wait_jitter=0.02
    ):
        with attempt:
            return _in_transaction(here) if owned_here(CONTEXT) else there()
    raise AssertionError("stamina gave no attempt")


def _in_transaction(act: Callable[[], Answer]) -> Answer:
    try:
        with transaction.atomic():
            return act()
    except OperationalError as error:
        if is_fenced(error):
            raise NotNow("the customers are being moved to another service; send the request again") from error
        raise


def register(**fields: str) -> User:
    """Let the service make a customer.

    Raises:
        Invalid: of what was told, or because the e-mail address is taken.
        NotNow: see `ask`.
        Unanswered: it may have made one; asked again it would say that the address is taken.
    """
    return _user(_asked("POST", "", repeatable=False, json=fields))


def recognise(email: str, password: str) -> User | None:
    """Let the service tell whose credentials these are; None for nobody's.

    Raises:
        NotNow: see `ask`.
    """
    try:
        return _user(_asked("POST", "recognise/", json={"email": email, "password": password}))
    except (Unknown, Invalid):
        return None


def account(number: int) -> User | None:
    """The account as the service has it at this moment; None where it has none.

    Raises:
        NotNow: see `ask`.
    """
    try:
        return _user(_asked("GET", f"{number}/"))
    except Unknown:
        return None


def _asked(method: str, path: str, *, repeatable: bool = True, **content: Any) -> dict[str, Any]:
    place = settings.ACCOUNTS
    try:
        answer = client(place["url"], place["token"]).request(method, path, **content)
    except httpx2.TransportError as error:
        if not repeatable and not isinstance(error, NOT_SENT):
            raise Unanswered from error
        raise NotNow("the users service does not answer; send the request again") from error
    if answer.status_code == HTTPStatus.NOT_FOUND:
        raise Unknown
    if answer.status_code == HTTPStatus.BAD_REQUEST:
        raise Invalid(answer.json()["errors"])
    if not answer.is_success:
        # A 503 is the fence's, or says that nothing was begun.
        if not repeatable and answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise Unanswered
        raise NotNow(f"the users service answers {answer.status_code}; send the request again")
    found: dict[str, Any] = answer.json()
    return found


def client(url: str, token: str = "") -> httpx2.Client:
    """The process's connections to a service; its threads share them."""
    with _opening:  # a cache alone lets two threads open one each
        return _opened(url, token)


_opening = threading.Lock()


@cache
def _opened(url: str, token: str) -> httpx2.Client:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.Client(base_url=url, headers=headers, timeout=ANSWER_SECONDS)


def _user(account: dict[str, Any]) -> User:
    """A customer that is in no row here, or in one that is older."""
    user = User(**account)
    user._state.adding = False
    return user
