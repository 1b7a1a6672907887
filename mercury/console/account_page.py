"""The figures on the page of one provider account: six facts, the last requests one by one, and response times.

Reads roll-ups, the last attempts of all accounts, and attempts in progress; never the events, and never all emails.
"""

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.db.models import Count, Q
from django.urls import reverse

from mails.models import Attempt, Mail, first_id
from mails.reporting import recent_attempts, rollups, search, statistics, system_status
from mails.reporting.recent_attempts import LastAttempts
from mails.reporting.statistics import AccountStatistics, Durations, Point, Statistics
from mails.states import AttemptState, Counted, Level
from mercury.console.charts import Legend, Picture, build_picture, build_y_labels
from mercury.lib import chart_geometry, durations
from mercury.lib.chart_geometry import Chart
from mercury.lib.database import database_clock
from providers.health.breaker import BreakerSnapshot
from providers.models import Account
from providers.outcomes import FailureClass

PERIOD = dt.timedelta(hours=24)
RECENT = dt.timedelta(minutes=5)
SLACK = dt.timedelta(minutes=1)  # between the clocks of two machines
COUNTED_AT_MOST = 5000  # emails; a higher number is shown with a plus
_KINDS = {
    FailureClass.MESSAGE: "because of the message",
    FailureClass.ACCOUNT: "because of the account",
    FailureClass.RECIPIENT: "by one mailbox",
    FailureClass.RATE: "by a rate limit",
    FailureClass.PROVIDER: "by a provider error",
    FailureClass.LOCAL: "by an error of this machine",
}
# State of a list -> what its link says after the number.
_NOT_SENT = {"waiting": "waiting to retry", "unknown": "held, outcome unknown", "discarded": "discarded"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeStyle:
    """Display of an outcome. `mark`: above its column, for those who do not see its colour."""

    words: str
    tone: str
    icon: str
    mark: str


OUTCOMES: Mapping[str, OutcomeStyle] = {
    AttemptState.ACCEPTED: OutcomeStyle(words="accepted", tone="ok", icon="tick", mark=""),
    AttemptState.REFUSED: OutcomeStyle(words="refused", tone="bad", icon="cross", mark="×"),
    AttemptState.UNKNOWN: OutcomeStyle(words="outcome unknown", tone="unknown", icon="question", mark="?"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFact:
    """One figure, and what it means."""

    label: str
    figure: str
    note: str
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailListLink:
    """A link to a list of emails."""

    words: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBar:
    """One attempt in words. `x`, `y`: the position of its mark above its column."""

    attempt: Attempt
    look: OutcomeStyle
    took: str
    title: str
    x: float
    y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAttemptsChart:
    """The last attempts one by one, oldest first, as a chart and as a table."""

    title: str
    chart: Chart
    attempts: Sequence[AttemptBar]
    sentence: str
    legend: Sequence[OutcomeStyle]
    x_labels: Sequence[tuple[float, str]]
    y_labels: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFigures:
    """All figures of the account's attempts on the page."""

    facts: Sequence[AccountFact]
    last: LastAttemptsChart
    times: Picture
    failed: Sequence[MailListLink]  # the unsent emails that it had when its breaker opened and since


def load_account_figures(account: Account, breaker: BreakerSnapshot, now: dt.datetime | None = None) -> AccountFigures:
    """Return the figures of an account. Eight short queries, or nine if its breaker is open, whatever the number of emails."""
    now = now or database_clock.now()
    figures = statistics.load_statistics(now - PERIOD, now, account=account.name)
    minutes = statistics.load_statistics(now - RECENT, now, Level.MINUTE, account=account.name)
    mine, recent = _select_account(figures), _select_account(minutes)
    facts = [
        _describe_accepted(mine),
        _describe_refused(mine, recent),
        _describe_unknown(account.name, mine),
        _describe_latency(mine),
        _describe_limit(account, breaker, figures, now),
        _describe_in_flight(account.name, breaker, now),
    ]
    return AccountFigures(
        facts=facts,
        last=_build_last_attempts(
            recent_attempts.load_last_attempts(account.name, before=_find_last_attempt(account.name, figures, minutes))
        ),
        times=_build_latency_picture(account.name, statistics.build_series(figures)),
        failed=_link_failed(account.name, breaker),
    )


def _select_account(figures: Statistics) -> AccountStatistics | None:
    return next(iter(statistics.summarize_accounts(figures)), None)


def _describe_accepted(mine: AccountStatistics | None) -> AccountFact:
    if mine is None or not mine.attempts:
        return AccountFact(label="Accepted, 24 h", figure="0", note="no request in 24 hours")
    rounded = min(mine.success, 99.9) if mine.failure_rate else 100.0
    return AccountFact(
        label="Accepted, 24 h",
        figure=f"{mine.accepted:,}",
        note=f"of {mine.attempts:,} requests; success {rounded:.3g} %",
    )


def _describe_refused(mine: AccountStatistics | None, recent: AccountStatistics | None) -> AccountFact:
    refused = {FailureClass(kind): count for kind, count in mine.refused.items() if count} if mine else {}
    in_last_minutes = sum(recent.refused.values()) if recent else 0
    if in_last_minutes:
        note = f"{in_last_minutes:,} in the last 5 min"
    elif len(refused) == 1:
        note = f"all {_KINDS[next(iter(refused))]}"
    else:
        note = ", ".join(f"{count:,} {_KINDS[kind]}" for kind, count in refused.items()) or "none"
    return AccountFact(label="Refused", figure=f"{sum(refused.values()):,}", note=note)


def _describe_unknown(name: str, mine: AccountStatistics | None) -> AccountFact:
    held = Mail.objects.filter(search.STATES["unknown"][1], provider=name)[:COUNTED_AT_MOST].count()
    count = mine.unknown if mine else 0
    if held:
        words = _count_emails(held, "+" if held == COUNTED_AT_MOST else "")
        return AccountFact(
            label="Outcome unknown", figure=f"{count:,}", note=f"{words} held", url=_link_mails(name, "unknown")
        )
    return AccountFact(label="Outcome unknown", figure=f"{count:,}", note="none unconfirmed")


def _describe_latency(mine: AccountStatistics | None) -> AccountFact:
    spread = mine.latency if mine else Durations(count=0, mean=None, p50=None, p95=None, p99=None)
    if spread.p50 is None or spread.p95 is None or spread.p99 is None:
        return AccountFact(label="p50 / p95 / p99", figure="–", note="no request was accepted")
    return AccountFact(
        label="p50 / p95 / p99",
        figure=durations.format_duration(spread.p50),
        note=f"{durations.format_duration(spread.p95)} / {durations.format_duration(spread.p99)}",
    )


def _describe_limit(account: Account, breaker: BreakerSnapshot, figures: Statistics, now: dt.datetime) -> AccountFact:
    limit = f"{account.rate:g} /s" if account.rate else "none"
    if breaker.limited_until and breaker.limited_until > now:
        return AccountFact(
            label="Limit", figure=limit, note=f"it asked to wait until {breaker.limited_until:%H:%M:%S} UTC"
        )
    made = _count_attempts(figures)
    if not made:
        return AccountFact(label="Limit", figure=limit, note="not used")
    most = max(made, key=lambda start: (made[start], start))
    rate = made[most] / rollups.LENGTHS[figures.level].total_seconds()
    return AccountFact(label="Limit", figure=limit, note=f"peak {rate:.2g} /s, 10 min from {most:%H:%M} UTC")


def _describe_in_flight(name: str, breaker: BreakerSnapshot, now: dt.datetime) -> AccountFact:
    in_progress = recent_attempts.count_in_progress(name)
    concurrency = sum(worker.concurrency for worker in system_status.list_workers(now) if worker.alive)
    if breaker.slots is not None:
        note = f"recovering, {breaker.slots} at once"
    else:
        note = f"of {concurrency:,} slot{'' if concurrency == 1 else 's'}" if concurrency else "no worker is seen"
    return AccountFact(label="In progress", figure=f"{in_progress:,}", note=note)


def _count_attempts(figures: Statistics) -> dict[dt.datetime, int]:
    """Return the attempts by interval."""
    made: dict[dt.datetime, int] = defaultdict(int)
    for start, key, total in figures.rows:
        if key.kind == Counted.CALL:
            made[rollups.floor_to_level(start, figures.level)] += total.count
    return made


def _find_last_attempt(name: str, figures: Statistics, minutes: Statistics) -> dt.datetime | None:
    """Return when its last attempts ended, to the minute, so that later attempts of others are not read; None if unknown."""
    if _count_attempts(minutes):
        return None
    made = _count_attempts(figures)
    if not made:
        return None
    begin = max(made)
    last_minutes = statistics.load_statistics(begin, begin + rollups.LENGTHS[figures.level], Level.MINUTE, account=name)
    return max(_count_attempts(last_minutes), default=begin) + rollups.LENGTHS[Level.MINUTE] + SLACK


def _build_last_attempts(found: LastAttempts) -> LastAttemptsChart:
    seconds = [
        (attempt.state, None if attempt.latency_ms is None else attempt.latency_ms / 1000) for attempt in found.calls
    ]
    chart = chart_geometry.draw_log_columns(seconds, recent_attempts.SHOWN)
    attempts = [
        _describe_attempt(attempt, bar.x + bar.width / 2, bar.y)
        for attempt, bar in zip(found.calls, chart.bars, strict=True)
    ]
    labelled = range(0, len(attempts), max(1, recent_attempts.SHOWN // 6))
    return LastAttemptsChart(
        title="Last request" if len(attempts) == 1 else f"Last {len(attempts) or recent_attempts.SHOWN} requests",
        chart=chart,
        attempts=attempts,
        sentence=_summarize_attempts(found),
        legend=list(OUTCOMES.values()),
        x_labels=[(chart.columns[number], f"{attempts[number].attempt.opened_at:%H:%M:%S}") for number in labelled],
        y_labels=build_y_labels(chart, durations.format_ticks),
    )


def _describe_attempt(attempt: Attempt, x: float, y: float) -> AttemptBar:
    look = OUTCOMES[attempt.state]
    took = _format_latency(attempt.latency_ms)
    after = "" if attempt.latency_ms is None else f" after {took}"
    why = f", {attempt.reason_code}" if attempt.reason_code else ""
    title = f"{attempt.opened_at.day} {attempt.opened_at:%b, %H:%M:%S} UTC: {look.words}{after}{why}"
    return AttemptBar(attempt=attempt, look=look, took=took, title=title, x=round(x, 2), y=y)


def _format_latency(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "–"
    return durations.format_duration(milliseconds / 1000) if milliseconds else "< 1 ms"


def _summarize_attempts(found: LastAttempts) -> str:
    if not found.calls:
        return (
            f"None of the last {recent_attempts.REACH:,} requests of all accounts was made here."
            if found.stopped
            else "No email was sent here yet."
        )
    by_state = Counter(attempt.state for attempt in found.calls)
    outcomes = ", ".join(f"{by_state[state]} {look.words}" for state, look in OUTCOMES.items() if by_state[state])
    whole = f"The last {len(found.calls)} requests" if len(found.calls) > 1 else "The last request"
    if found.stopped:
        whole += f", of the last {recent_attempts.REACH:,} of all accounts"
    return f"{whole}: {outcomes}. The height is the response time."


def _build_latency_picture(name: str, points: Sequence[Point]) -> Picture:
    latencies = [point.latency.get(name) for point in points]
    series = {
        "p50": [latency.p50 if latency else None for latency in latencies],
        "p95": [latency.p95 if latency else None for latency in latencies],
        "p99": [latency.p99 if latency else None for latency in latencies],
    }
    return build_picture(
        key="times",
        title="Response time",
        period="last 24 hours",
        sentence="Response time of accepted requests: median, 95th and 99th percentile.",
        chart=chart_geometry.draw_log_lines(series),
        legend=[
            Legend(series="p50", words="p50", tone="ok"),
            Legend(series="p95", words="p95", tone="active"),
            Legend(series="p99", words="p99", tone="waiting"),
        ],
        points=points,
        table=series,
        describe=durations.format_duration,
        label=durations.format_ticks,
    )


def _link_failed(name: str, breaker: BreakerSnapshot) -> list[MailListLink]:
    """Return links to its newest unsent emails by state, if its breaker is open; emails accepted before that do not count."""
    if breaker.opened_at is None:
        return []
    since = (breaker.opened_at - SLACK).replace(second=0, microsecond=0)
    mails = Mail.objects.filter(provider=name, pk__gte=first_id(since)).order_by("-pk")[:COUNTED_AT_MOST]
    counts = mails.aggregate(
        all=Count("pk"), **{state: Count("pk", filter=Q(search.STATES[state][1])) for state in _NOT_SENT}
    )
    more = "+" if counts["all"] == COUNTED_AT_MOST else ""
    found = [(state, words) for state, words in _NOT_SENT.items() if counts[state]]
    return [
        MailListLink(
            words=f"{'' if number else 'Show the '}{_count_emails(counts[state], more)} {words}",
            url=_link_mails(name, state, q=f"after:{since:%Y-%m-%dT%H:%M}"),
        )
        for number, (state, words) in enumerate(found)
    ]


def _link_mails(name: str, state: str, **more: str) -> str:
    return f"{reverse('admin:mails_mail_changelist')}?{urlencode({'account': name, 'state': state, **more})}"


def _count_emails(count: int, more: str = "") -> str:
    return f"{count:,}{more} email{'' if count == 1 and not more else 's'}"
