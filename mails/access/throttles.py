"""Throttle API keys with a rate: further writes are refused (429), and each answer states what is left.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10, and `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from mails.access import rate_limits
from mails.access.rate_limits import RateLimitStatus
from mails.models import ApiKey
from mercury.lib import durations
from mercury.lib.rest.problems import Problem

if TYPE_CHECKING:
    from rest_framework.views import APIView


class KeyRateThrottle(BaseThrottle):
    """Count every write of a key that has a rate, before its body is read. Costs nothing for any other request."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Return True, or raise Problem (429) if the limit is exceeded."""
        key = request.auth
        if request.method in SAFE_METHODS or not isinstance(key, ApiKey) or not key.rate:
            return True
        status = rate_limits.count_write(key, mail=getattr(view, "is_intake", False))
        request.rate_headers = _build_headers(status)  # type: ignore[attr-defined]  # ResourceViewSet adds them to the answer
        if not status.allowed:
            raise _build_throttled(status)
        return True


def _build_headers(status: RateLimitStatus) -> Mapping[str, str]:
    return {
        "RateLimit-Policy": f'"key";q={status.quota};w={status.window}',
        "RateLimit": f'"key";r={status.remaining};t={status.reset_after}',
    }


def _build_throttled(status: RateLimitStatus) -> Problem:
    times = "once" if status.quota == 1 else f"{status.quota} times"
    detail = (
        f"This key may write {times} in {durations.format_duration(status.window)}, emails, events and actions together; "
        f"this request was not processed. Send it again in {status.reset_after} s. "
        "If the application needs more, an operator can raise the key's rate."
    )
    return Problem(429, "throttled", detail, headers={"Retry-After": str(status.reset_after)})
