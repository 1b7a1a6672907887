"""The rate of a key at the door: more writes than it allows are refused (429), and each answer says what is left.

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


class KeyRate(BaseThrottle):
    """Counts every write of a key that has a rate, before its body is read. Costs nothing for any other request."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """True, or Problem (429) where it is one too many."""
        key = request.auth
        if request.method in SAFE_METHODS or not isinstance(key, ApiKey) or not key.rate:
            return True
        standing = rate_limits.count_write(key, mail=getattr(view, "is_intake", False))
        request.rate_headers = _build_headers(standing)  # type: ignore[attr-defined]  # Resource puts them on the answer
        if not standing.allowed:
            raise _build_throttled(standing)
        return True


def _build_headers(standing: RateLimitStatus) -> Mapping[str, str]:
    return {
        "RateLimit-Policy": f'"key";q={standing.quota};w={standing.window}',
        "RateLimit": f'"key";r={standing.remaining};t={standing.reset_after}',
    }


def _build_throttled(standing: RateLimitStatus) -> Problem:
    times = "once" if standing.quota == 1 else f"{standing.quota} times"
    detail = (
        f"This key may write {times} in {durations.format_duration(standing.window)}, mails, events and actions together; "
        f"this request was not carried out. Send it again in {standing.reset_after} s. "
        "If the application needs more, an operator can raise the key's rate."
    )
    return Problem(429, "throttled", detail, headers={"Retry-After": str(standing.reset_after)})
