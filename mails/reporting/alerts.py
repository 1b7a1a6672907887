"""What an operator should know now, each with its remedy, the cause before its symptoms. A pure function of the situation.

An alert ends with its cause: what was mended is told no more. A remedy never makes the state worse, as disabling the only
account that works would.
"""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from mails.reporting import account_alerts, recent_failures
from mails.reporting.account_alerts import Alert
from mails.reporting.recent_failures import FailedEmails
from mails.reporting.system_status import QueueStatus, SystemStatus
from mercury.lib.durations import format_duration, format_size

LONG_DUE = 60.0  # seconds that a due mail may wait for a worker
LONG_UNSENT = 15 * 60.0  # seconds after which a mail that nobody has taken is worth a word
LATE_FIGURES = 180.0  # seconds
DISK_SHARE = 0.05  # free …
DISK_BYTES = 1_000_000_000  # … or so much: below either the disk counts as nearly full
SOME = 0.05  # share of discarded or rejected emails that is worth a word …
MOST = 0.5  # … and that means that something is broken
ENOUGH = 5  # emails in 15 minutes, before their share means anything

# Causes first. What comes later in this list is often only the symptom of what comes earlier.
ORDER = (
    "disk_nearly_full",
    "sending_paused",
    "no_worker",
    "no_account",
    "local_trouble",
    "account_unusable",
    "breaker_open",
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
    "held_operator",
    "oldest_unsent",
    "breaker_forced_closed",
    "sandbox_fault",
    "figures_late",
)


@dataclass(frozen=True, slots=True)
class _Blocker:
    """Whether nothing can leave at all, whatever the queue: then waiting is a symptom, and more workers are no remedy."""

    by: str = ""  # the code of the cause


def find_alerts(situation: SystemStatus) -> list[Alert]:
    """All alerts: what stops or loses email first, and each cause before its symptoms."""
    causes = [
        *_check_global_pause(situation),
        *_check_workers(situation),
        *account_alerts.find_account_alerts(situation),
        *_check_machine(situation),
    ]
    blocked = _find_blocker(situation)
    found = [
        *causes,
        *(alert for queue in situation.waiting for alert in _check_queue(queue, blocked)),
        *_check_unsent(situation, blocked),
        *_check_discarded(situation),
        *_check_rejected(situation),
        *_check_held(situation),
        *_check_expired(situation),
    ]
    return sorted(found, key=lambda alert: (alert.tone != "bad", ORDER.index(alert.code)))


def summarize(situation: SystemStatus, alerts: list[Alert]) -> str:
    """The state in one sentence."""
    if alerts:
        more = len(alerts) - 1
        return alerts[0].sentence + (f" {more} more {'alert' if more == 1 else 'alerts'}." if more else "")
    due = sum(queue.due for queue in situation.waiting)
    later = sum(queue.later for queue in situation.waiting)
    waits = f"{due:,} {'email' if due == 1 else 'emails'} queued" if due else "No email queued"
    back_off = f", {later:,} deferred" if later else ""
    workers = len(situation.alive)
    lost = situation.failures.discarded.emails
    discarded = f" {lost:,} {'email was' if lost == 1 else 'emails were'} discarded in 24 hours." if lost else ""
    return f"All systems normal. {waits}{back_off}, {workers} {'worker' if workers == 1 else 'workers'} running.{discarded}"


def _find_blocker(situation: SystemStatus) -> _Blocker:
    if situation.sending_paused_by is not None:
        return _Blocker("sending_paused")
    if not situation.alive:
        return _Blocker("no_worker")
    return _Blocker() if account_alerts.list_ready_accounts(situation) else _Blocker("no_account")


_SEE_CAUSE = {
    "sending_paused": "They are sent when sending is resumed.",
    "no_worker": "They are sent when a worker runs.",
    "no_account": "More workers would not help: no account can accept email.",
}


def _check_global_pause(situation: SystemStatus) -> Iterable[Alert]:
    if situation.sending_paused_by is not None:
        yield Alert(
            "sending_paused",
            "bad",
            "",
            f"Sending is paused by {situation.sending_paused_by}: email is accepted and stored, but none is sent.",
            "Check what is queued (manage.py mails --state queued), then resume: manage.py resume --all",
            since=situation.sending_paused_at,
            emails="state=queued",
        )


def _check_workers(situation: SystemStatus) -> Iterable[Alert]:
    if not situation.alive:
        lost = max((one.seen_at for one in situation.workers), default=None)
        yield Alert(
            "no_worker",
            "bad",
            "",
            "No worker is running: nothing is sent.",
            "Start one: manage.py worker. Embedded (no REDIS_URL), restart the web process.",
            since=lost,
            emails="state=queued",
        )
    elif situation.counted_until and (late := (situation.at - situation.counted_until).total_seconds()) > LATE_FIGURES:
        yield Alert(
            "figures_late",
            "waiting",
            "",
            f"The counts of accepted emails are {format_duration(late)} late.",
            "They catch up automatically. If the delay grows, look for task_failed in the logs of the workers.",
            since=situation.counted_until,
        )


def _check_queue(queue: QueueStatus, blocked: _Blocker) -> Iterable[Alert]:
    emails = urlencode({"state": "queued", "queue": queue.queue})
    if queue.paused_at is not None:
        waits = queue.due + queue.later
        why = f" (“{queue.paused_note}”)" if queue.paused_note else ""
        yield Alert(
            "queue_paused",
            "bad",
            queue.queue,
            f"Queue {queue.queue} is paused by {queue.paused_by}{why}: "
            f"{waits:,} {'email is' if waits == 1 else 'emails are'} waiting.",
            f"Resume it on the overview, or: manage.py resume --queue {queue.queue}",
            since=queue.paused_at,
            emails=emails,
        )
    elif queue.oldest is not None and queue.oldest > LONG_DUE:
        are_due = f"{queue.due:,} {'email is' if queue.due == 1 else 'emails are'} due"
        yield Alert(
            "oldest_waiting",
            "waiting" if blocked.by == "sending_paused" else "bad",
            queue.queue,
            f"{are_due} in queue {queue.queue}, the oldest for {format_duration(queue.oldest)}.",
            _SEE_CAUSE.get(blocked.by)
            or f"The page of an email says what it waits for. If all slots are in use, start a worker: manage.py worker {queue.queue}",
            emails=emails,
        )


def _check_unsent(situation: SystemStatus, blocked: _Blocker) -> Iterable[Alert]:
    if situation.oldest_unsent is not None and situation.oldest_unsent > LONG_UNSENT:
        yield Alert(
            "oldest_unsent",
            "waiting",
            "",
            f"The oldest unsent email was accepted {format_duration(situation.oldest_unsent)} ago.",
            _SEE_CAUSE.get(blocked.by) or "Its page says what it waits for: manage.py mails --state waiting",
            since=situation.at - dt.timedelta(seconds=situation.oldest_unsent),
            emails="state=waiting",
        )


def _check_discarded(situation: SystemStatus) -> Iterable[Alert]:
    found, sent = situation.failures.discarded, situation.failures.sent
    recently_sent = sum(one.sent for one in situation.recent)
    tone = _choose_tone(found, sent, recently_sent)
    if tone:
        yield Alert(
            "discarded",
            tone,
            "",
            f"{_count_emails(found.emails)} discarded in the last 24 hours, {_format_percent(found.emails, sent)} of all finished: "
            f"{_describe_causes(found)}.",
            "Open one to see the provider's reply. Fix the cause, then reprocess them from their list.",
            since=found.since,
            emails="state=discarded&age=24h",
        )


def _check_rejected(situation: SystemStatus) -> Iterable[Alert]:
    found, arrived = situation.failures.rejected, situation.failures.arrived
    tone = _choose_tone(found, arrived, arrived) if found.emails >= ENOUGH else ""
    if tone:
        yield Alert(
            "rejected",
            tone,
            "",
            f"{_count_emails(found.emails)} rejected in the last 24 hours, {_format_percent(found.emails, arrived)} of all submitted: "
            f"{_describe_causes(found)}.",
            "Each one names its application and the error. The application has to correct the email and send it again.",
            since=found.since,
            emails="state=rejected&age=24h",
        )


def _choose_tone(found: FailedEmails, well: int, well_recently: int) -> str:
    """Return `bad` while most of the emails end so, `waiting` where some did, else nothing."""
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


def _check_held(situation: SystemStatus) -> Iterable[Alert]:
    held = situation.held
    if held.unknown:
        yield Alert(
            "held_unknown",
            "waiting",
            "",
            f"{_count_emails(held.unknown)} on hold and may have been sent: the outcome is unknown.",
            "Check with the provider, then resolve: manage.py resolve ID --sent or --not-sent",
            emails="state=unknown",
        )
    if held.poison:
        yield Alert(
            "held_poison",
            "bad",
            "",
            f"{_count_emails(held.poison)} quarantined: two workers crashed while they processed {'it' if held.poison == 1 else 'each'}.",
            "Look at one (manage.py mails --state held) and at the logs of the workers before you release it.",
            emails="state=held",
        )
    if held.operator:
        yield Alert(
            "held_operator",
            "waiting",
            "",
            f"{_count_emails(held.operator)} on hold, set by an operator.",
            "To release them: manage.py release IDS",
            emails="state=held",
        )


def _check_expired(situation: SystemStatus) -> Iterable[Alert]:
    if situation.expired:
        them, still = ("it", "it still matters") if situation.expired == 1 else ("them", "they still matter")
        yield Alert(
            "expired",
            "bad",
            "",
            f"{situation.expired:,} {'email' if situation.expired == 1 else 'emails'} expired in the last 24 hours: "
            f"no account accepted {them} in time.",
            f"See why: manage.py mails --state expired. If {still}, reprocess {them}: manage.py reprocess ID",
            since=situation.expired_since,
            emails="state=expired",
        )


def _check_machine(situation: SystemStatus) -> Iterable[Alert]:
    if situation.redis == "away":
        yield Alert(
            "redis_away",
            "waiting",
            "",
            "Redis does not answer: emails are sent up to two seconds later.",
            "Start it again. No email is lost, and nothing else needs to be done.",
        )
    if situation.disk_free < DISK_SHARE or situation.disk_free_bytes < DISK_BYTES:
        yield Alert(
            "disk_nearly_full",
            "bad",
            "",
            f"The disk of the data folder has only {format_size(situation.disk_free_bytes)} left ({situation.disk_free:.0%}).",
            "Free some space: when the disk is full, no email can be accepted.",
        )


def _count_emails(count: int) -> str:
    return "1 email is" if count == 1 else f"{count:,} emails are"
