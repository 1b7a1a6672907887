"""The rate of a key at the door: more mails than it allows are refused (429), and each answer says what is left.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10, and `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from mails import key_rate
from mails.key_rate import Standing
from mails.models import ApiKey
from mercury.lib import durations
from mercury.lib.problems import Problem

if TYPE_CHECKING:
    from rest_framework.views import APIView


class KeyRate(BaseThrottle):
    """Counts the POSTs of a key that has a rate, before their body is read. Costs nothing for any other request."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """True, or Problem (429) where it is one too many."""
        key = request.auth
        if request.method != "POST" or not isinstance(key, ApiKey) or not key.rate:
            return True
        standing = key_rate.take(key)
        request.standing = standing  # type: ignore[attr-defined]
        if not standing.allowed:
            raise _too_many(standing)
        return True


def headers(request: Request) -> Mapping[str, str]:
    """What the answer says of the key's rate; nothing where the request was not counted."""
    standing: Standing | None = getattr(request, "standing", None)
    if standing is None:
        return {}
    return {
        "RateLimit-Policy": f'"key";q={standing.quota};w={standing.window}',
        "RateLimit": f'"key";r={standing.left};t={standing.seconds}',
    }


def _too_many(standing: Standing) -> Problem:
    mails = "1 mail" if standing.quota == 1 else f"{standing.quota} mails"
    detail = (
        f"This key may hand in {mails} in {durations.words(standing.window)}; this one was not taken. "
        f"Send it again in {standing.seconds} s. If the application needs more, an operator can raise the key's rate."
    )
    return Problem(429, "throttled", detail, headers={"Retry-After": str(standing.seconds)})
