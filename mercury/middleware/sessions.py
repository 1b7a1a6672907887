"""Sessions, log-ins, their lockouts and messages are for people: a request of the API that signs in with a key passes them by.

They cost such a request a twentieth of its time and give it nothing; it must not have a session at all.
"""

from typing import Any

from axes.middleware import AxesMiddleware
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.messages.middleware import MessageMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.http import HttpRequest


class _PassedByKeys:
    """In front of a middleware of Django's. With an Authorization header the API looks at no session."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if "HTTP_AUTHORIZATION" in request.META and request.path_info.startswith("/api/v"):
            return self.get_response(request)
        return super().__call__(request)  # type: ignore[misc]


class BrowserSessionMiddleware(_PassedByKeys, SessionMiddleware):
    """Django's sessions."""


class BrowserAuthenticationMiddleware(_PassedByKeys, AuthenticationMiddleware):
    """Django's `request.user`."""


class BrowserLockoutMiddleware(_PassedByKeys, AxesMiddleware):  # type: ignore[misc]
    """The answer to a log-in that is locked out."""


class BrowserMessageMiddleware(_PassedByKeys, MessageMiddleware):
    """Django's messages."""
