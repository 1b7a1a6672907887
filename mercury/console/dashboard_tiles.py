"""The six figures on top of the overview, each with its meaning and the list behind it."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from django.urls import reverse

from mails.models import Mail, first_id
from mails.reporting import alerts, system_status
from mails.reporting.statistics import MailStatistics, Point
from mails.reporting.system_status import SystemStatus
from mails.states import Status
from mercury.lib import chart_geometry, durations
from mercury.lib.chart_geometry import Spark

MINUTE = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure, what it means, and the list behind it."""

    label: str
    figure: str
    unit: str
    note: str
    url: str
    tone: str = "neutral"
    spark: Spark


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A period as the URL and as people name it."""

    key: str
    words: str
    since: dt.datetime


def build_tiles(status: SystemStatus, whole: MailStatistics, points: Sequence[Point], period: Period) -> list[Tile]:
    """Return the tiles of the overview for a period, which `whole` and `points` count."""
    return [
        _build_arriving(status, whole, points, period),
        _build_waiting(status),
        _build_oldest(status, points),
        _build_time_to_send(whole, points, period),
        _build_unknown(status, points),
        _build_discarded(whole, points, period),
    ]


def _build_arriving(status: SystemStatus, whole: MailStatistics, points: Sequence[Point], period: Period) -> Tile:
    return Tile(
        label="Arriving now",
        figure=f"{_count_last_minute(status.at):,}",
        unit="in the last minute",
        note=f"{whole.arrived:,} accepted, {whole.rejected:,} rejected in the {period.words}",
        url=_link_emails(),
        spark=chart_geometry.draw_spark([point.arrived for point in points]),
    )


def _build_waiting(status: SystemStatus) -> Tile:
    due = sum(queue.due for queue in status.queues)
    later = sum(queue.deferred for queue in status.queues)
    return Tile(
        label="Waiting",
        figure=f"{due:,}",
        unit="email due" if due == 1 else "emails due",
        note=f"and {later:,} deferred{_describe_scheduled(status)}; {status.claimed:,} being sent",
        url=_link_emails("?state=queued"),
        spark=chart_geometry.draw_spark([]),
    )


def _describe_scheduled(status: SystemStatus) -> str:
    """Return how many emails wait for their time, and when the next one is sent; empty without any."""
    count = sum(queue.scheduled for queue in status.queues)
    first = min((queue.next_scheduled_at for queue in status.queues if queue.next_scheduled_at), default=None)
    return f", {count:,} scheduled (next {durations.format_moment(first, status.at)})" if first else ""


def _build_oldest(status: SystemStatus, points: Sequence[Point]) -> Tile:
    oldest = max((queue.oldest for queue in status.queues if queue.oldest is not None), default=0.0)
    figure, unit = _split_duration(oldest)
    return Tile(
        label="Oldest waiting",
        figure=figure,
        unit=unit,
        note=f"target under {durations.format_duration(alerts.LONG_DUE)}",
        url=_link_emails("?state=queued"),
        tone="bad" if oldest > alerts.LONG_DUE else "neutral",
        spark=chart_geometry.draw_spark([point.queue_time.p95 for point in points]),
    )


def _build_time_to_send(whole: MailStatistics, points: Sequence[Point], period: Period) -> Tile:
    sent = whole.acceptance
    figure, unit = _split_duration(sent.p95)
    if sent.p50 is None:
        note = f"nothing sent in the {period.words}"
    else:
        note = f"median {durations.format_duration(sent.p50)}; of {sent.count:,} sent in the {period.words}"
    return Tile(
        label="Time to send (p95)",
        figure=figure,
        unit=unit,
        note=note,
        url=_link_emails("?state=done"),
        spark=chart_geometry.draw_spark([point.acceptance.p95 for point in points]),
    )


def _build_unknown(status: SystemStatus, points: Sequence[Point]) -> Tile:
    unknown = status.held.unknown
    return Tile(
        label="Outcome unknown",
        figure=f"{unknown:,}",
        unit="emails held",
        note="now, until someone confirms what happened" if unknown else "none waits for confirmation",
        url=_link_emails("?state=unknown"),
        tone="unknown" if unknown else "neutral",
        spark=chart_geometry.draw_spark([point.unknown for point in points]),
    )


def _build_discarded(whole: MailStatistics, points: Sequence[Point], period: Period) -> Tile:
    discarded, expired = (_count_accepted_since(period.since, state) for state in (Status.DISCARDED, Status.EXPIRED))
    recipients = "recipient" if whole.suppressed == 1 else "recipients"
    suppressed = f"; {whole.suppressed:,} {recipients} suppressed" if whole.suppressed else ""
    return Tile(
        label="Discarded",
        figure=f"{discarded:,}",
        unit="emails",
        note=f"of those accepted in the {period.words}, as they are now; {expired:,} more expired{suppressed}",
        url=_link_emails(f"?state=discarded&age={period.key}"),
        tone="bad" if discarded or expired else "neutral",
        spark=chart_geometry.draw_spark([point.discarded + point.expired for point in points]),
    )


def _count_last_minute(now: dt.datetime) -> int:
    """Return how many emails were accepted in the last minute."""
    accepted = Mail.objects.filter(pk__gte=first_id(now - MINUTE)).exclude(status=Status.REJECTED)
    return accepted.order_by()[: system_status.COUNTED_AT_MOST].count()


def _count_accepted_since(since: dt.datetime, state: str) -> int:
    """Return how many of the emails accepted since then are in this state now."""
    mails = Mail.objects.filter(pk__gte=first_id(since), status=state).order_by()
    return mails[: system_status.COUNTED_AT_MOST].count()


def _link_emails(query: str = "") -> str:
    return f"{reverse('admin:mails_mail_changelist')}{query}"


def _split_duration(seconds: float | None) -> tuple[str, str]:
    """Return a duration as figure and unit."""
    if seconds is None:
        return "–", ""
    figure, _, unit = durations.format_duration(seconds).partition(" ")
    return figure, unit
