"""Session authentication that asks for the CSRF token of visitors too, not of customers only."""

from __future__ import annotations

from django.contrib.auth.models import AbstractBaseUser
from rest_framework.authentication import SessionAuthentication
from rest_framework.request import Request


class CsrfSessionAuthentication(SessionAuthentication):
    """DRF exempts anonymous requests from CSRF, which leaves sign-up and login open to it."""

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, None] | None:
        self.enforce_csrf(request)
        user = getattr(request._request, "user", None)
        return (user, None) if user is not None and user.is_active else None
