"""Requests that accounts refused because of themselves; `providers`, which does not know `mails`, asks for them."""

import datetime as dt

from django.db.models import Q, Sum

from mails.models import Rollup
from mails.reporting import rollups
from mails.states import AttemptState, Counted, Level
from providers.outcomes import FailureClass
from providers.routing import refusing_accounts

_REFUSED = Q(outcome=AttemptState.REFUSED, failure_class=FailureClass.ACCOUNT)


def register_count() -> None:
    """Make this what tells which accounts refuse every request. Called once per process."""
    refusing_accounts.counts[:] = [count_refusals]


def count_refusals(since: dt.datetime) -> dict[str, int]:
    """Return what each account refused because of itself since that minute, of those that accepted nothing. One query."""
    calls = Rollup.objects.filter(
        level__in=(Level.MINUTE, Level.FRESH),
        start__gte=rollups.floor_to_level(since, Level.MINUTE),
        kind=Counted.CALL,
    )
    sums = (
        calls.order_by()
        .values_list("account")
        .annotate(refused=Sum("count", filter=_REFUSED), accepted=Sum("count", filter=Q(outcome=AttemptState.ACCEPTED)))
    )
    return {account: refused for account, refused, accepted in sums if refused and not accepted}
