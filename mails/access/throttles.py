"""Throttle API keys with a rate: further writes are refused (429), and each answer states what is left, also of limits.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10, and `Retry-After`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rest_framework.permissions import SAFE_METHODS
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from mails.access import rate_limits
from mails.access.key_limits import LimitStatus
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


def count_batch(request: Request, mails: int) -> None:
    """Count the emails of a batch as one write each, all or none. Raises Problem: 429, or 413 if a batch of this size can never fit.

    For a view without KeyRateThrottle: how many they are is known once the body is read.
    """
    key = request.auth
    if not isinstance(key, ApiKey) or not key.rate:
        return
    status = rate_limits.count_write(key, writes=mails)
    request.rate_headers = _build_headers(status)  # type: ignore[attr-defined]  # ResourceViewSet adds them to the answer
    if mails > status.quota:
        detail = (
            f"This key may write {_format_times(status.quota)} in {durations.format_duration(status.window)}, so a batch "
            f"of {mails} emails never fits; nothing was stored. Send smaller batches, or let an operator raise the key's rate."
        )
        raise Problem(413, "batch_exceeds_rate", detail)
    if not status.allowed:
        raise _build_throttled(status)


def add_limits(request: Request, statuses: Sequence[LimitStatus]) -> None:
    """Have the answer state what is left of these limits, after the key's rate if it has one."""
    if not statuses:
        return
    stated: dict[str, str] = getattr(request, "rate_headers", {})
    policies = [f'"{status.name}";q={status.quota};w={status.name.seconds}' for status in statuses]
    left = [f'"{status.name}";r={status.remaining};t={status.reset_after}' for status in statuses]
    request.rate_headers = {  # type: ignore[attr-defined]  # as above
        name: ", ".join([*filter(None, [stated.get(name)]), *items])
        for name, items in (("RateLimit-Policy", policies), ("RateLimit", left))
    }


def _build_headers(status: RateLimitStatus) -> Mapping[str, str]:
    return {
        "RateLimit-Policy": f'"key";q={status.quota};w={status.window}',
        "RateLimit": f'"key";r={status.remaining};t={status.reset_after}',
    }


def _build_throttled(status: RateLimitStatus) -> Problem:
    detail = (
        f"This key may write {_format_times(status.quota)} in {durations.format_duration(status.window)}, emails, events and actions together; "
        f"this request was not processed. Send it again in {status.reset_after} s. "
        "If the application needs more, an operator can raise the key's rate."
    )
    return Problem(429, "throttled", detail, headers={"Retry-After": str(status.reset_after)})


def _format_times(quota: int) -> str:
    return "once" if quota == 1 else f"{quota} times"
