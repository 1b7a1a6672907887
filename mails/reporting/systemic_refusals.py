"""Emails that ended while an account refused everything, before that was noticed: they deserve another try."""

import datetime as dt

from django.db.models import Q

from mails.models import Mail
from mails.states import Status
from providers.health.refusal_runs import Run
from providers.models import RefusalRun
from providers.outcomes import FailureClass

SHOWN_FOR = dt.timedelta(days=3)  # after a spell has ended
COUNTED_AT_MOST = 10_000
WORD = "refusals:"  # of search


def match_discarded(account: str) -> Q:
    """Return the condition of emails that the account alone ended in its last spell; none where it had none."""
    row = RefusalRun.objects.filter(account__name=account.lower(), noticed_at__isnull=False).first()
    return _match_run(account.lower(), Run.of(row)) if row else Q(pk__in=())


def is_recent(run: Run, now: dt.datetime) -> bool:
    """Return True if the account refused everything lately."""
    return run.noticed_at is not None and (run.ended_at is None or run.ended_at > now - SHOWN_FOR)


def count_discarded(account: str, run: Run) -> int:
    """Return how many emails the last spell ended that nobody has sent again."""
    return Mail.objects.filter(_match_run(account, run)).order_by()[:COUNTED_AT_MOST].count()


def includes_rejected(words: str) -> bool:
    """Return True if the words of a search name the emails of a spell, whose refusals are in doubt."""
    return any(word.lower().startswith(WORD) for word in words.split())


def _match_run(account: str, run: Run) -> Q:
    condition = Q(
        status=Status.DISCARDED, provider=account, failure_class=FailureClass.MESSAGE, finished_at__gte=run.began_at
    )
    return condition & Q(finished_at__lte=run.ended_at) if run.ended_at else condition
