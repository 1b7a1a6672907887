"""Accounts as answers show them, without their secrets."""

import datetime as dt
from typing import Any

from django.urls import reverse
from rest_framework.request import Request

from mercury.lib.database import database_clock
from mercury.lib.rest import filters
from mercury.lib.rest.filters import Kind, Sieve
from providers.accounts.options import list_shown_options
from providers.accounts.registry import Candidate
from providers.health.breaker import describe_breaker
from providers.kinds.capabilities import KINDS
from providers.models import Account, AccountSource

FIELDS: filters.Fields = {
    "id": Sieve("id", Kind.INTEGER),
    "name": Sieve("name"),
    "kind": Sieve("kind", values=tuple(KINDS)),
    "source": Sieve("source", values=AccountSource.values),
    "weight": Sieve("weight", Kind.INTEGER),
}


def account(row: Account, candidate: Candidate, request: Request) -> dict[str, Any]:
    """An account and how it does."""
    return {
        "id": row.pk,
        "url": account_url(request, row.pk),
        "name": row.name,
        "kind": row.kind,
        "source": row.source,
        "options": {option.name: option.value for option in list_shown_options(row)},
        "weight": row.weight,
        "rate": row.rate,
        "trust_500": row.trust_500,
        "enabled": row.enabled,
        "configured": candidate.configured,
        "in_use": candidate.enabled and candidate.configured,
        "breaker": {
            "mode": candidate.breaker.mode,
            "state": candidate.breaker.state,
            "says": describe_breaker(candidate.breaker, database_clock.now()),
        },
        "created": f"{row.created_at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
    }


def account_url(request: Request, account_id: int) -> str:
    """The absolute URL of an account, on the host that was asked."""
    return request.build_absolute_uri(reverse("api-provider", kwargs={"account_id": account_id}))
