"""Pause and resume a queue, or all sending, and say what that does."""

from mails import pauses
from mails.dispatch import wake
from mails.models import Mail
from mails.models.querysets import MailQuerySet
from mails.pauses import ALL_QUEUES
from mails.queues import QueueName
from mails.reporting import search
from mails.states import DUE, LEASED

COUNTED_AT_MOST = 100_000  # emails that wait; an index serves it


def pause_sending(queue: str = ALL_QUEUES, *, by: str, note: str = "") -> bool:
    """Pause this queue, or all sending, on every machine; return False if it was already paused.

    Its emails are still accepted and stored. Requests in progress finish; no new ones start.
    """
    return pauses.pause(queue, by=by, note=note)


def resume_sending(queue: str = ALL_QUEUES, *, by: str) -> bool:
    """Resume this queue, or all sending, and wake its workers; return False if it was not paused."""
    resumed = pauses.resume(queue, by=by)
    if resumed:
        wake.wake_after_commit([queue] if queue else QueueName.values)
    return resumed


def describe_pause_effect(queue: str = ALL_QUEUES) -> str:
    """Return how many emails a pause keeps waiting, and how many requests will finish."""
    waiting = search.format_count(_select_due(queue), COUNTED_AT_MOST)
    requests = _select_mails(queue).filter(status__in=LEASED).count()
    emails = "email queued (it will wait)" if waiting == "1" else "emails queued (they will wait)"
    running = "request in progress (it will finish)" if requests == 1 else "requests in progress (they will finish)"
    return f"{waiting} {emails}; {requests:,} {running}."


def describe_resume_effect(queue: str = ALL_QUEUES) -> str:
    """Return how many emails will be sent once sending resumes."""
    waiting = search.format_count(_select_due(queue), COUNTED_AT_MOST)
    if waiting == "0":
        return "No emails are queued."
    return f"{waiting} queued {'email' if waiting == '1' else 'emails'} will be sent when due."


def _select_mails(queue: str) -> MailQuerySet:
    return Mail.objects.filter(queue=queue) if queue else Mail.objects.all()


def _select_due(queue: str) -> MailQuerySet:
    return _select_mails(queue).filter(status__in=DUE)
