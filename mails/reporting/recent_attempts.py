"""The last attempts of one provider account, and those in progress. Read along indexes that exist for other reasons.

No index holds the account of an attempt: it would cost each email 125 bytes of WAL and 73 bytes of disk for one page. The
ids of attempts are ordered in time, so the newest REACH of all accounts are read instead.
"""

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Count

from mails.models import Attempt, Mail, first_id
from mails.states import LEASED, AttemptState

REACH = 20_000  # attempts of all accounts that are looked at
SAMPLE = 5000  # attempts of which the emails are read, too
SHOWN = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAttempts:
    """The last attempts of an account that have an outcome, oldest first, each with its email."""

    calls: Sequence[Attempt]
    stopped: bool  # fewer than SHOWN among the last REACH of all accounts, and there are older ones


def load_last_attempts(account: str, *, before: dt.datetime | None = None) -> LastAttempts:
    """Load the last SHOWN attempts of an account, among the last REACH of all accounts that began before this time.

    Two queries along the primary key; the cost does not grow with the number of emails.
    """
    begun = Attempt.objects.order_by("-pk")
    if before is not None:
        begun = begun.filter(pk__lt=first_id(before))
    reached = list(begun.values_list("pk", flat=True)[REACH - 1 : REACH + 1])
    edge = reached[0] if len(reached) > 1 else None  # the oldest that is looked at, where there are older ones
    mine = begun.filter(account=account).exclude(state=AttemptState.OPEN).select_related("mail")
    if edge is not None:
        mine = mine.filter(pk__gte=edge)
    calls = list(mine[:SHOWN])[::-1]
    return LastAttempts(calls=calls, stopped=edge is not None and len(calls) < SHOWN)


def count_failure_codes(since: dt.datetime) -> dict[tuple[str, str], list[tuple[str, int]]]:
    """Return why attempts failed since then: account and failure class (`unknown` for an unknown outcome) -> reason codes, counts.

    Reads the newest REACH attempts at most, along the primary key.
    """
    begun = Attempt.objects.filter(pk__gte=first_id(since)).order_by("-pk")
    edge = begun.values_list("pk", flat=True)[REACH - 1 : REACH].first()
    failed = begun.filter(state__in=(AttemptState.REFUSED, AttemptState.UNKNOWN))
    if edge is not None:
        failed = failed.filter(pk__gte=edge)
    counted = failed.order_by().values_list("account", "state", "failure_class", "reason_code").annotate(Count("pk"))
    found: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for account, state, failure_class, code, count in counted:
        found[account, "unknown" if state == AttemptState.UNKNOWN else failure_class].append((code or "no code", count))
    return {key: sorted(codes, key=lambda code: (-code[1], code[0])) for key, codes in found.items()}


def count_accepted(since: dt.datetime) -> dict[tuple[str, str], int]:
    """Return the attempts since then that were accepted, by account and route of the email (`Mail.route`).

    Of the newest SAMPLE attempts at most: one query along the primary key.
    """
    begun = Attempt.objects.filter(pk__gte=first_id(since)).order_by("-pk")
    edge = begun.values_list("pk", flat=True)[SAMPLE - 1 : SAMPLE].first()
    accepted = begun.filter(state=AttemptState.ACCEPTED)
    if edge is not None:
        accepted = accepted.filter(pk__gte=edge)
    counted = accepted.order_by().values_list("account", "mail__route").annotate(Count("pk"))
    return {(account, route): count for account, route, count in counted}


def count_in_progress(account: str) -> int:
    """Count the requests to an account that are in progress, by the index of leased emails."""
    return Mail.objects.filter(status__in=LEASED, provider=account).count()
