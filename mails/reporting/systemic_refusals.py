"""Emails that were discarded while an account refused every email, before that was detected. They deserve another try."""

import datetime as dt

from django.db.models import Q

from mails.models import Mail
from mails.states import Status
from providers.health.refusal_runs import RefusalRunSnapshot
from providers.models import RefusalRun
from providers.outcomes import FailureClass

SHOWN_FOR = dt.timedelta(days=3)  # after the refusals have ended
COUNTED_AT_MOST = 10_000
WORD = "refusals:"  # of search


def match_discarded(account: str) -> Q:
    """Return the condition of emails that were discarded in the last run of refusals of the account; none without one."""
    row = RefusalRun.objects.filter(account__name=account.lower(), noticed_at__isnull=False).first()
    return _match_run(account.lower(), RefusalRunSnapshot.from_row(row)) if row else Q(pk__in=())


def is_recent(run: RefusalRunSnapshot, now: dt.datetime) -> bool:
    """Return True if the account refused every email recently."""
    return run.noticed_at is not None and (run.ended_at is None or run.ended_at > now - SHOWN_FOR)


def count_discarded(account: str, run: RefusalRunSnapshot) -> int:
    """Return how many emails of the run were discarded and not reprocessed."""
    return Mail.objects.filter(_match_run(account, run)).order_by()[:COUNTED_AT_MOST].count()


def includes_rejected(words: str) -> bool:
    """Return True if the search names emails of systemic refusals."""
    return any(word.lower().startswith(WORD) for word in words.split())


def _match_run(account: str, run: RefusalRunSnapshot) -> Q:
    condition = Q(
        status=Status.DISCARDED, provider=account, failure_class=FailureClass.MESSAGE, finished_at__gte=run.began_at
    )
    return condition & Q(finished_at__lte=run.ended_at) if run.ended_at else condition
