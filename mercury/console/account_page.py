"""What the page of one provider account tells of its calls: six facts, the last calls one by one, and times to answer.

Reads roll-ups, the last attempts of the house, and what is under way; never the events, and never all mails.
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
from mercury.console.charts import Legend, Picture, picture
from mercury.lib import chart_geometry, durations
from mercury.lib.chart_geometry import Chart
from mercury.lib.database import database_clock
from providers.health.breaker import Snapshot
from providers.models import Account
from providers.outcomes import FailureClass

PERIOD = dt.timedelta(hours=24)
RECENT = dt.timedelta(minutes=5)
SLACK = dt.timedelta(minutes=1)  # between the clocks of two machines
COUNTED_AT_MOST = 5000  # mails; more are told as so many and more
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


@dataclass(frozen=True, slots=True)
class Look:
    """How an outcome is shown. `mark`: above its column, for those who do not see its colour."""

    words: str
    tone: str
    icon: str
    mark: str


OUTCOMES: Mapping[str, Look] = {
    AttemptState.ACCEPTED: Look("accepted", "ok", "tick", ""),
    AttemptState.REFUSED: Look("refused", "bad", "cross", "×"),
    AttemptState.UNKNOWN: Look("outcome unknown", "unknown", "question", "?"),
}


@dataclass(frozen=True, slots=True)
class Fact:
    """One figure, and what it means."""

    label: str
    figure: str
    note: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """Where to go on."""

    words: str
    url: str


@dataclass(frozen=True, slots=True)
class Call:
    """One call in words. `x`, `y`: where its mark stands above its column."""

    attempt: Attempt
    look: Look
    took: str
    title: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class LastCalls:
    """The last calls one by one, oldest first, as a chart and as a table."""

    title: str
    chart: Chart
    calls: Sequence[Call]
    sentence: str
    legend: Sequence[Look]
    x_labels: Sequence[tuple[float, str]]
    y_labels: Sequence[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class AccountFigures:
    """All that the page shows of the account's calls."""

    facts: Sequence[Fact]
    last: LastCalls
    times: Picture
    failed: Sequence[Link]  # to the mails that it had while its breaker opened and since, and that are not sent


def read(account: Account, breaker: Snapshot, now: dt.datetime | None = None) -> AccountFigures:
    """The figures of an account. Eight short queries, or nine where its breaker opened, however many mails there are."""
    now = now or database_clock.now()
    figures = statistics.load_statistics(now - PERIOD, now, account=account.name)
    minutes = statistics.load_statistics(now - RECENT, now, Level.MINUTE, account=account.name)
    mine, recent = _own(figures), _own(minutes)
    facts = [
        _accepted(mine),
        _refused(mine, recent),
        _unknown(account.name, mine),
        _times(mine),
        _limit(account, breaker, figures, now),
        _in_flight(account.name, breaker, now),
    ]
    return AccountFigures(
        facts=facts,
        last=_last_calls(
            recent_attempts.load_last_attempts(account.name, before=_last_called(account.name, figures, minutes))
        ),
        times=_picture(account.name, statistics.build_series(figures)),
        failed=_failed(account.name, breaker),
    )


def _own(figures: Statistics) -> AccountStatistics | None:
    return next(iter(statistics.summarize_accounts(figures)), None)


def _accepted(mine: AccountStatistics | None) -> Fact:
    if mine is None or not mine.calls:
        return Fact("Accepted, 24 h", "0", "no request in 24 hours")
    rounded = min(mine.success, 99.9) if mine.failure_rate else 100.0
    return Fact("Accepted, 24 h", f"{mine.accepted:,}", f"of {mine.calls:,} requests; success {rounded:.3g} %")


def _refused(mine: AccountStatistics | None, recent: AccountStatistics | None) -> Fact:
    refused = {FailureClass(kind): count for kind, count in mine.refused.items() if count} if mine else {}
    lately = sum(recent.refused.values()) if recent else 0
    if lately:
        note = f"{lately:,} in the last 5 min"
    elif len(refused) == 1:
        note = f"all {_KINDS[next(iter(refused))]}"
    else:
        note = ", ".join(f"{count:,} {_KINDS[kind]}" for kind, count in refused.items()) or "none"
    return Fact("Refused", f"{sum(refused.values()):,}", note)


def _unknown(name: str, mine: AccountStatistics | None) -> Fact:
    held = Mail.objects.filter(search.STATES["unknown"][1], provider=name)[:COUNTED_AT_MOST].count()
    count = mine.unknown if mine else 0
    if held:
        words = _mails(held, "+" if held == COUNTED_AT_MOST else "")
        return Fact("Outcome unknown", f"{count:,}", f"{words} held", _list(name, "unknown"))
    return Fact("Outcome unknown", f"{count:,}", "none unconfirmed")


def _times(mine: AccountStatistics | None) -> Fact:
    spread = mine.latency if mine else Durations(0, None, None, None, None)
    if spread.p50 is None or spread.p95 is None or spread.p99 is None:
        return Fact("p50 / p95 / p99", "–", "no request was accepted")
    return Fact(
        "p50 / p95 / p99",
        durations.format_duration(spread.p50),
        f"{durations.format_duration(spread.p95)} / {durations.format_duration(spread.p99)}",
    )


def _limit(account: Account, breaker: Snapshot, figures: Statistics, now: dt.datetime) -> Fact:
    limit = f"{account.rate:g} /s" if account.rate else "none"
    if breaker.limited_until and breaker.limited_until > now:
        return Fact("Limit", limit, f"it asked to wait until {breaker.limited_until:%H:%M:%S} UTC")
    made = _made(figures)
    if not made:
        return Fact("Limit", limit, "not used")
    most = max(made, key=lambda start: (made[start], start))
    rate = made[most] / rollups.LENGTHS[figures.level].total_seconds()
    return Fact("Limit", limit, f"peak {rate:.2g} /s, 10 min from {most:%H:%M} UTC")


def _in_flight(name: str, breaker: Snapshot, now: dt.datetime) -> Fact:
    under_way = recent_attempts.count_in_progress(name)
    concurrency = sum(one.concurrency for one in system_status.list_workers(now) if one.alive)
    if breaker.slots is not None:
        note = f"recovering, {breaker.slots} at once"
    else:
        note = f"of {concurrency:,} slot{'' if concurrency == 1 else 's'}" if concurrency else "no worker is seen"
    return Fact("In flight", f"{under_way:,}", note)


def _made(figures: Statistics) -> dict[dt.datetime, int]:
    """Calls by stretch."""
    made: dict[dt.datetime, int] = defaultdict(int)
    for start, key, one in figures.rows:
        if key.kind == Counted.CALL:
            made[rollups.floor_to_level(start, figures.level)] += one.count
    return made


def _last_called(name: str, figures: Statistics, minutes: Statistics) -> dt.datetime | None:
    """When its last calls were over, to the minute, so that no attempt of others since then is looked at; None if unknown."""
    if _made(minutes):
        return None
    made = _made(figures)
    if not made:
        return None
    stretch = max(made)
    of_stretch = statistics.load_statistics(
        stretch, stretch + rollups.LENGTHS[figures.level], Level.MINUTE, account=name
    )
    return max(_made(of_stretch), default=stretch) + rollups.LENGTHS[Level.MINUTE] + SLACK


def _last_calls(found: LastAttempts) -> LastCalls:
    seconds = [(one.state, None if one.latency_ms is None else one.latency_ms / 1000) for one in found.calls]
    chart = chart_geometry.log_columns(seconds, recent_attempts.SHOWN)
    told = [_call(one, bar.x + bar.width / 2, bar.y) for one, bar in zip(found.calls, chart.bars, strict=True)]
    some = range(0, len(told), max(1, recent_attempts.SHOWN // 6))
    return LastCalls(
        title=f"Last {recent_attempts.SHOWN if len(told) in (0, recent_attempts.SHOWN) else len(told)} requests"
        if len(told) != 1
        else "Last request",
        chart=chart,
        calls=told,
        sentence=_sentence(found),
        legend=list(OUTCOMES.values()),
        x_labels=[(chart.columns[number], f"{told[number].attempt.opened_at:%H:%M:%S}") for number in some],
        y_labels=[(tick.at, durations.format_duration(tick.value)) for tick in chart.rows],
    )


def _call(attempt: Attempt, x: float, y: float) -> Call:
    look = OUTCOMES[attempt.state]
    took = _took(attempt.latency_ms)
    after = "" if attempt.latency_ms is None else f" after {took}"
    why = f", {attempt.reason_code}" if attempt.reason_code else ""
    title = f"{attempt.opened_at.day} {attempt.opened_at:%b, %H:%M:%S} UTC: {look.words}{after}{why}"
    return Call(attempt, look, took, title, round(x, 2), y)


def _took(milliseconds: int | None) -> str:
    if milliseconds is None:
        return "–"
    return durations.format_duration(milliseconds / 1000) if milliseconds else "< 1 ms"


def _sentence(found: LastAttempts) -> str:
    if not found.calls:
        return (
            f"None of the last {recent_attempts.REACH:,} requests of all accounts was made here."
            if found.stopped
            else "No email was sent here yet."
        )
    by_state = Counter(one.state for one in found.calls)
    told = ", ".join(f"{by_state[state]} {look.words}" for state, look in OUTCOMES.items() if by_state[state])
    whole = f"The last {len(found.calls)} requests" if len(found.calls) > 1 else "The last request"
    if found.stopped:
        whole += f", of the last {recent_attempts.REACH:,} of all accounts"
    return f"{whole}: {told}. The height is the response time."


def _picture(name: str, points: Sequence[Point]) -> Picture:
    spreads = [point.latency.get(name) for point in points]
    series = {
        "p50": [one.p50 if one else None for one in spreads],
        "p95": [one.p95 if one else None for one in spreads],
        "p99": [one.p99 if one else None for one in spreads],
    }
    return picture(
        "times",
        "Response time",
        "last 24 hours",
        "Response time of accepted requests: median, 95th and 99th percentile.",
        chart_geometry.log_lines(series),
        [Legend("p50", "p50", "ok"), Legend("p95", "p95", "active"), Legend("p99", "p99", "waiting")],
        points,
        series,
        durations.format_duration,
    )


def _failed(name: str, breaker: Snapshot) -> list[Link]:
    """Looks at the newest mails of the account, as many as are counted; what came in before the trouble is not meant."""
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
        Link(
            f"{'' if number else 'Show the '}{_mails(counts[state], more)} {words}",
            _list(name, state, q=f"after:{since:%Y-%m-%dT%H:%M}"),
        )
        for number, (state, words) in enumerate(found)
    ]


def _list(name: str, state: str, **more: str) -> str:
    return f"{reverse('admin:mails_mail_changelist')}?{urlencode({'account': name, 'state': state, **more})}"


def _mails(count: int, more: str = "") -> str:
    return f"{count:,}{more} email{'' if count == 1 and not more else 's'}"
