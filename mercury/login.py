"""The log-in page and its limits: by name and address together, by name alone, and by address alone.

django-axes counts the failures. Its limit is for a name from one address. Two wider limits stop many addresses that try one
name, and one address that tries many names. Those two let a person pass who is known: whose browser, or whose address, that
name signed in from before. So a stranger cannot keep somebody out of a browser that they use.
"""

import datetime as dt
from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.helpers import get_client_username
from axes.models import AccessAttempt, AccessLog
from django.conf import settings
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView
from django.core import signing
from django.core.validators import MaxLengthValidator
from django.db.models import Sum
from django.http import HttpRequest, HttpResponse

from mercury.lib import client_addresses

FAILURES_BY_NAME = 50  # from all addresses together, in AXES_COOLOFF_TIME
FAILURES_BY_ADDRESS = 100  # with all names together
KNOWN_FOR = dt.timedelta(days=90)
_COOKIE, _SALT = "known-browser", "mercury.login"


def get_client_network(request: HttpRequest) -> str:
    """Return what axes counts as one address: an owner of an IPv6 /64 has 2^64 addresses."""
    return client_addresses.get_network(request.META.get("REMOTE_ADDR", ""))


class LogInLimits(AxesDatabaseHandler):  # type: ignore[misc]  # axes has no types
    """Axes' own limit, and the two wider ones."""

    def get_failures(self, request: HttpRequest, credentials: dict[str, Any] | None = None) -> int:
        """Return how many failures count against this log-in; the limit itself if a wider limit is reached."""
        failures = int(super().get_failures(request, credentials))
        limit = int(settings.AXES_FAILURE_LIMIT)
        if failures >= limit:
            return failures
        name = get_client_username(request, credentials) or ""
        return limit if _is_crowded(request, name) and not _is_known(request, name) else failures


class LogInForm(AuthenticationForm):
    """Django's, which leaves it to the browser how long a name may be.

    One that is longer than any fits no row of the log-in throttle: PostgreSQL refused it, and the answer was a 500.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        name: Any = self.fields["username"]
        name.validators.append(MaxLengthValidator(name.max_length))


class LogIn(LoginView):
    """Django's log-in, which leaves a mark in the browser so that it is known the next time."""

    authentication_form = LogInForm

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Log in, and mark the browser."""
        response = super().form_valid(form)
        response.set_cookie(
            _COOKIE,
            signing.dumps(_mark(form.get_user()), salt=_SALT),
            max_age=KNOWN_FOR,
            path="/login/",
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=True,
            samesite="Lax",
        )
        return response


def _is_crowded(request: HttpRequest, name: str) -> bool:
    since = request.axes_attempt_time - settings.AXES_COOLOFF_TIME  # type: ignore[attr-defined]
    recent = AccessAttempt.objects.filter(attempt_time__gte=since)
    by_name = recent.filter(username=name) if name else recent.none()
    by_address = recent.filter(ip_address=request.axes_ip_address)  # type: ignore[attr-defined]
    return _count_failures(by_name) >= FAILURES_BY_NAME or _count_failures(by_address) >= FAILURES_BY_ADDRESS


def _count_failures(attempts: Any) -> int:
    return int(attempts.aggregate(sum=Sum("failures_since_start"))["sum"] or 0)


def _is_known(request: HttpRequest, name: str) -> bool:
    """Return True if the name signed in before with this browser, or from this address."""
    try:
        mark = signing.loads(request.COOKIES.get(_COOKIE, ""), salt=_SALT, max_age=KNOWN_FOR)
    except signing.BadSignature:
        mark = None
    if mark is not None and (user := User.objects.filter(username=name).first()) and mark == _mark(user):
        return True
    address = request.axes_ip_address  # type: ignore[attr-defined]
    since = request.axes_attempt_time - KNOWN_FOR  # type: ignore[attr-defined]
    logs = AccessLog.objects.filter(username=name, ip_address=address, attempt_time__gte=since)
    return bool(address != client_addresses.UNKNOWN and logs.exists())


def _mark(user: Any) -> list[Any]:
    """Return what a browser keeps of who signed in; a new password ends it."""
    return [user.pk, user.get_session_auth_hash()[:16]]
