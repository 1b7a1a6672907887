"""The alerts: what an operator should know now and do about it, causes before symptoms. A pure function of the system status.

An alert ends with its cause. A remedy never makes the state worse, as disabling the only account that works would.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from mails.reporting import (
    account_alerts,
    recent_failures,
    sink_alerts,
    submission_stream_alerts,
    webhook_alerts,
)
from mails.reporting.account_alerts import Alert
from mails.reporting.recent_failures import FailedEmails
from mails.reporting.system_status import QueueStatus, SystemStatus
from mercury.lib.durations import format_duration, format_size

LONG_DUE = 60.0  # seconds that a due email may wait for a worker
LONG_UNSENT = 15 * 60.0  # seconds after which an unsent email is an alert
LATE_FIGURES = 180.0  # seconds
DISK_SHARE = 0.05  # free …
DISK_BYTES = 1_000_000_000  # … or this many: below either the disk is nearly full
SOME = 0.05  # share of discarded or rejected emails that is a warning …
MOST = 0.5  # … and that is critical
ENOUGH = 5  # emails in 15 minutes, before their share means anything

# Causes first: a later alert is often only the symptom of an earlier one.
ORDER = (
    "disk_nearly_full",
    "sending_paused",
    "no_worker",
    "no_account",
    "local_trouble",
    "account_unusable",
    "breaker_open",
    "rule_without_account",
    "out_of_quota",
    "systemic_refusals",
    "account_refuses",
    "silent_failover",
    "queue_paused",
    "redis_away",
    "oldest_waiting",
    "discarded",
    "rejected",
    "expired",
    "held_poison",
    "held_unknown",
    "held_file_missing",
    "held_operator",
    "oldest_unsent",
    "breaker_forced_closed",
    "sandbox_fault",
    "intake_no_key",
    "intake_stopped",
    "intake_failing",
    "intake_paused",
    "intake_behind",
    "sink_behind",
    "sink_rejected",
    "webhooks_behind",
    "webhook_disabled",
    "webhook_failing",
    "figures_late",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Blocker:
    """The cause that stops all sending, if any: then waiting is a symptom, and more workers do not help."""

    by: str = ""  # the code of the cause


def find_alerts(status: SystemStatus) -> list[Alert]:
    """Return all alerts: critical ones first, and each cause before its symptoms."""
    causes = [
        *_check_global_pause(status),
        *_check_workers(status),
        *account_alerts.find_account_alerts(status),
        *_check_machine(status),
    ]
    blocked = _find_blocker(status)
    found = [
        *causes,
        *(alert for queue in status.queues for alert in _check_queue(queue, blocked)),
        *_check_unsent(status, blocked),
        *_check_discarded(status),
        *_check_rejected(status),
        *_check_held(status),
        *_check_expired(status),
        *submission_stream_alerts.find_submission_stream_alerts(status.submission_streams, status.at),
        *sink_alerts.find_sink_alerts(status.sinks),
        *webhook_alerts.find_webhook_alerts(status.webhooks, status.webhook_lag),
    ]
    return sorted(found, key=lambda alert: (alert.tone != "bad", ORDER.index(alert.code)))


def summarize(status: SystemStatus, alerts: list[Alert]) -> str:
    """Return the system status in one sentence."""
    if alerts:
        more = len(alerts) - 1
        return alerts[0].sentence + (f" {more} more {'alert' if more == 1 else 'alerts'}." if more else "")
    due = sum(queue.due for queue in status.queues)
    later = sum(queue.deferred for queue in status.queues)
    waits = f"{due:,} {'email' if due == 1 else 'emails'} queued" if due else "No email queued"
    back_off = f", {later:,} deferred" if later else ""
    scheduled = sum(queue.scheduled for queue in status.queues)
    back_off += f", {scheduled:,} scheduled" if scheduled else ""
    workers = len(status.alive)
    lost = status.failures.discarded.emails
    discarded = f" {lost:,} {'email was' if lost == 1 else 'emails were'} discarded in 24 hours." if lost else ""
    return f"All systems normal. {waits}{back_off}, {workers} {'worker' if workers == 1 else 'workers'} running.{discarded}"


def _find_blocker(status: SystemStatus) -> _Blocker:
    if status.sending_paused_by is not None:
        return _Blocker(by="sending_paused")
    if not status.alive:
        return _Blocker(by="no_worker")
    return _Blocker() if account_alerts.list_accepting_accounts(status) else _Blocker(by="no_account")


_REFERENCES = {
    "sending_paused": "They are sent when sending is resumed.",
    "no_worker": "They are sent when a worker runs.",
    "no_account": "More workers would not help: no account can accept email.",
}


def _check_global_pause(status: SystemStatus) -> Iterable[Alert]:
    if status.sending_paused_by is not None:
        yield Alert(
            code="sending_paused",
            tone="bad",
            about="",
            sentence=f"Sending is paused by {status.sending_paused_by}: email is accepted and stored, but none is sent.",
            remedy="Check what is queued (manage.py mails --state queued), then resume: manage.py resume --all",
            since=status.sending_paused_at,
            emails="state=queued",
        )


def _check_workers(status: SystemStatus) -> Iterable[Alert]:
    if not status.alive:
        lost = max((worker.seen_at for worker in status.workers), default=None)
        yield Alert(
            code="no_worker",
            tone="bad",
            about="",
            sentence="No worker is running: nothing is sent.",
            remedy="Start one: manage.py worker. Embedded (no REDIS_URL), restart the web process.",
            since=lost,
            emails="state=queued",
        )
    elif status.counted_until and (late := (status.at - status.counted_until).total_seconds()) > LATE_FIGURES:
        yield Alert(
            code="figures_late",
            tone="waiting",
            about="",
            sentence=f"The counts of accepted emails are {format_duration(late)} late.",
            remedy="They catch up automatically. If the delay grows, look for task_failed in the logs of the workers.",
            since=status.counted_until,
        )


def _check_queue(queue: QueueStatus, blocked: _Blocker) -> Iterable[Alert]:
    emails = urlencode({"state": "queued", "queue": queue.queue})
    if queue.paused_at is not None:
        waits = queue.due + queue.deferred
        why = f" (“{queue.paused_note}”)" if queue.paused_note else ""
        yield Alert(
            code="queue_paused",
            tone="bad",
            about=queue.queue,
            sentence=f"Queue {queue.queue} is paused by {queue.paused_by}{why}: "
            f"{waits:,} {'email is' if waits == 1 else 'emails are'} waiting.",
            remedy=f"Resume it on the overview, or: manage.py resume --queue {queue.queue}",
            since=queue.paused_at,
            emails=emails,
        )
    elif queue.oldest is not None and queue.oldest > LONG_DUE:
        are_due = f"{queue.due:,} {'email is' if queue.due == 1 else 'emails are'} due"
        yield Alert(
            code="oldest_waiting",
            tone="waiting" if blocked.by == "sending_paused" else "bad",
            about=queue.queue,
            sentence=f"{are_due} in queue {queue.queue}, the oldest for {format_duration(queue.oldest)}.",
            remedy=_REFERENCES.get(blocked.by)
            or f"The page of an email says what it waits for. If all slots are in use, start a worker: manage.py worker {queue.queue}",
            emails=emails,
        )


def _check_unsent(status: SystemStatus, blocked: _Blocker) -> Iterable[Alert]:
    if status.oldest_unsent is not None and status.oldest_unsent > LONG_UNSENT:
        yield Alert(
            code="oldest_unsent",
            tone="waiting",
            about="",
            sentence=f"The oldest unsent email was accepted {format_duration(status.oldest_unsent)} ago.",
            remedy=_REFERENCES.get(blocked.by) or "Its page says what it waits for: manage.py mails --state waiting",
            since=status.at - dt.timedelta(seconds=status.oldest_unsent),
            emails="state=waiting",
        )


def _check_discarded(status: SystemStatus) -> Iterable[Alert]:
    found, sent = status.failures.discarded, status.failures.sent
    recently_sent = sum(account.sent for account in status.recent)
    tone = _choose_tone(found, sent, recently_sent)
    if tone:
        yield Alert(
            code="discarded",
            tone=tone,
            about="",
            sentence=f"{_format_emails(found.emails, past=True)} discarded in the last 24 hours, {_format_percent(found.emails, sent)} of all finished: "
            f"{_describe_causes(found)}.",
            remedy="Open one to see the provider's reply. Fix the cause, then reprocess them from their list.",
            since=found.since,
            emails="state=discarded&age=24h",
        )


def _check_rejected(status: SystemStatus) -> Iterable[Alert]:
    found, arrived = status.failures.rejected, status.failures.arrived
    tone = _choose_tone(found, arrived, arrived) if found.emails >= ENOUGH else ""
    if tone:
        yield Alert(
            code="rejected",
            tone=tone,
            about="",
            sentence=f"{_format_emails(found.emails, past=True)} rejected in the last 24 hours, {_format_percent(found.emails, arrived)} of all submitted: "
            f"{_describe_causes(found)}.",
            remedy="Each one names its application and the error. The application has to correct the email and send it again.",
            since=found.since,
            emails="state=rejected&age=24h",
        )


def _choose_tone(found: FailedEmails, well: int, well_recently: int) -> str:
    """Return `bad` if most of the emails failed, `waiting` if some did, else nothing."""
    share, lately = (
        recent_failures.compute_share(found.emails, well),
        recent_failures.compute_share(found.recent, well_recently),
    )
    if (found.recent >= ENOUGH and lately >= MOST) or (found.emails >= ENOUGH and share >= MOST):
        return "bad"
    return "waiting" if share >= SOME or (found.recent >= ENOUGH and lately >= SOME) else ""


def _describe_causes(found: FailedEmails) -> str:
    return ", ".join(
        f"{cause.reason or 'no reason on record'}{f' at {cause.account}' if cause.account else ''} ({cause.emails:,})"
        for cause in found.causes
    )


def _format_percent(part: int, rest: int) -> str:
    return f"{100 * recent_failures.compute_share(part, rest):.0f} %"


def _check_held(status: SystemStatus) -> Iterable[Alert]:
    held = status.held
    if held.unknown:
        yield Alert(
            code="held_unknown",
            tone="waiting",
            about="",
            sentence=f"{_format_emails(held.unknown)} on hold and may have been sent: the outcome is unknown.",
            remedy="Check with the provider, then resolve: manage.py resolve ID --sent or --not-sent",
            emails="state=unknown",
        )
    if held.poison:
        yield Alert(
            code="held_poison",
            tone="bad",
            about="",
            sentence=f"{_format_emails(held.poison)} quarantined: two workers crashed while they processed {'it' if held.poison == 1 else 'each'}, "
            "or Mercury could not build the message.",
            remedy="Look at one (manage.py mails --state held) and at the logs of the workers before you release it.",
            emails="state=held",
        )
    if held.file_missing:
        yield Alert(
            code="held_file_missing",
            tone="bad",
            about="",
            sentence=f"{_format_emails(held.file_missing)} on hold: the file storage has lost the content of an attachment.",
            remedy="Restore the storage of files, then release them: manage.py release IDS",
            emails="state=held",
        )
    if held.operator:
        yield Alert(
            code="held_operator",
            tone="waiting",
            about="",
            sentence=f"{_format_emails(held.operator)} on hold, set by an operator.",
            remedy="To release them: manage.py release IDS",
            emails="state=held",
        )


def _check_expired(status: SystemStatus) -> Iterable[Alert]:
    if status.expired:
        them, still = ("it", "it still matters") if status.expired == 1 else ("them", "they still matter")
        yield Alert(
            code="expired",
            tone="bad",
            about="",
            sentence=f"{status.expired:,} {'email' if status.expired == 1 else 'emails'} expired in the last 24 hours: "
            f"no account accepted {them} in time.",
            remedy=f"See why: manage.py mails --state expired. If {still}, reprocess {them}: manage.py reprocess ID",
            since=status.expired_since,
            emails="state=expired",
        )


def _check_machine(status: SystemStatus) -> Iterable[Alert]:
    if status.redis == "away":
        yield Alert(
            code="redis_away",
            tone="waiting",
            about="",
            sentence="Redis does not answer: emails are sent up to two seconds later.",
            remedy="Start it again. No email is lost, and nothing else needs to be done.",
        )
    if status.disk_free < DISK_SHARE or status.disk_free_bytes < DISK_BYTES:
        yield Alert(
            code="disk_nearly_full",
            tone="bad",
            about="",
            sentence=f"The disk of the data folder has only {format_size(status.disk_free_bytes)} left ({status.disk_free:.0%}).",
            remedy="Free some space: when the disk is full, no email can be accepted.",
        )


def _format_emails(count: int, *, past: bool = False) -> str:
    if count == 1:
        return "1 email was" if past else "1 email is"
    return f"{count:,} emails {'were' if past else 'are'}"
