"""Recent failures, for alerts: emails that ended without being sent, and refusals that repeat.

Bounded whatever the number of emails: counts stop at 100,000, and causes are read from the newest thousand.
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Sum

from mails.models import Mail, Rollup, first_id
from mails.reporting.statistics import SENT, Statistics
from mails.states import AttemptState, Counted, Level, Status
from providers.outcomes import FailureClass

COUNTED_AT_MOST = 100_000
LOOKED_AT = 1000  # emails whose causes are read
LATELY = dt.timedelta(hours=24)  # so that failures of the night are seen in the morning
RECENT = dt.timedelta(minutes=15)
CAUSES_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """Why emails ended badly, and how many did."""

    account: str  # of the last attempt; empty where there was none
    reason: str
    emails: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedEmails:
    """Emails accepted within the last 24 hours that are in one bad state now."""

    emails: int = 0
    recent: int = 0  # of them, those that ended in the last 15 minutes; at most 1,000
    since: dt.datetime | None = None  # when the first of the newest thousand ended …
    last: dt.datetime | None = None  # … and the last
    causes: Sequence[Cause] = ()  # the most frequent first


NO_FAILED_EMAILS = FailedEmails()


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatedFailure:
    """Attempts with one account that failed in the last 15 minutes for a reason that needs attention."""

    account: str
    failure_class: str
    attempts: int
    since: dt.datetime  # the minute of the first …
    last: dt.datetime  # … and of the last
    accepted_since: int  # attempts that it accepted in later minutes

    @property
    def is_ongoing(self) -> bool:
        """False once as many attempts were accepted since; a few refusals in between do not end it."""
        return self.accepted_since < min(self.attempts, 20)


@dataclass(frozen=True, slots=True, kw_only=True)
class RecentFailures:
    """Recent failures, and the numbers they are compared with."""

    discarded: FailedEmails = NO_FAILED_EMAILS
    rejected: FailedEmails = NO_FAILED_EMAILS
    sent: int = 0  # emails in the last 24 hours
    arrived: int = 0  # accepted in the last 24 hours
    repeated_failures: Sequence[RepeatedFailure] = ()


NO_RECENT_FAILURES = RecentFailures()


def read_recent_failures(now: dt.datetime, recent: Statistics) -> RecentFailures:
    """Read the recent failures: five short queries. `recent`: the statistics of the last 15 minutes, by the minute."""
    counts = dict(
        Rollup.objects.filter(level__in=(Level.HOUR, Level.FRESH), start__gte=now - LATELY)
        .filter(kind__in=(Counted.END, Counted.ARRIVAL))
        .order_by()
        .values_list("outcome")
        .annotate(Sum("count"))
    )
    return RecentFailures(
        discarded=_read_failed_emails(Status.DISCARDED, now),
        rejected=_read_failed_emails(Status.REJECTED, now),
        sent=sum(counts.get(ending, 0) for ending in SENT),
        arrived=counts.get("accepted", 0),
        repeated_failures=find_repeated_failures(recent),
    )


def _read_failed_emails(status: Status, now: dt.datetime) -> FailedEmails:
    emails = Mail.objects.filter(status=status, pk__gte=first_id(now - LATELY)).order_by("-pk")
    newest = list(emails.values_list("provider", "reason_code", "finished_at")[:LOOKED_AT])
    if not newest:
        return NO_FAILED_EMAILS
    count = len(newest) if len(newest) < LOOKED_AT else emails[:COUNTED_AT_MOST].count()
    ends = [finished for _, _, finished in newest if finished]
    causes = Counter((account, reason) for account, reason, _ in newest).most_common(CAUSES_NAMED)
    return FailedEmails(
        emails=count,
        recent=sum(finished >= now - RECENT for finished in ends),
        since=min(ends, default=None),
        last=max(ends, default=None),
        causes=[Cause(account=account, reason=reason, emails=emails) for (account, reason), emails in causes],
    )


def find_repeated_failures(recent: Statistics) -> list[RepeatedFailure]:
    """Return attempts that failed because of their accounts, or of this machine."""
    refused: dict[tuple[str, str], Counter[dt.datetime]] = defaultdict(Counter)
    accepted: dict[str, Counter[dt.datetime]] = defaultdict(Counter)
    for start, key, total in recent.rows:
        if key.kind != Counted.CALL:
            continue
        if key.outcome == AttemptState.ACCEPTED:
            accepted[key.account][start] += total.count
        elif key.failure_class in (FailureClass.ACCOUNT, FailureClass.LOCAL):
            refused[key.account, key.failure_class][start] += total.count
    return [
        RepeatedFailure(
            account=account,
            failure_class=failure_class,
            attempts=minutes.total(),
            since=min(minutes),
            last=max(minutes),
            accepted_since=sum(count for start, count in accepted[account].items() if start > max(minutes)),
        )
        for (account, failure_class), minutes in sorted(refused.items())
    ]


def compute_share(part: int, rest: int) -> float:
    """Return the share of `part` in both; 0 where there is nothing."""
    return part / (part + rest) if part else 0.0
