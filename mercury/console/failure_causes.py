"""The failed requests of a period by account and cause, as the overview lists them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from django.urls import reverse

from mails.reporting import recent_attempts, rollups
from mails.reporting.statistics import AccountStatistics, Statistics
from mails.reporting.system_status import AccountStatus
from mails.states import AttemptState, Counted
from mercury.lib import chart_geometry
from mercury.lib.chart_geometry import Spark
from providers.outcomes import FailureClass

CODES_SHOWN = 3  # of a cause
UNKNOWN = "unknown"  # in place of a failure class


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCause:
    """The requests of one account that failed for one reason, with their trend."""

    account: str
    failure_class: str  # a `FailureClass`, or `unknown`
    words: str
    codes: str  # the most frequent reason codes, such as "smtp-550 (12), smtp-554 (3)"
    calls: int
    spark: Spark
    url: str  # the emails or the requests


def find_causes(
    statistics: Iterable[AccountStatistics], accounts: Sequence[AccountStatus], figures: Statistics, period: str
) -> list[FailureCause]:
    """Return the causes of failed requests, the most frequent first, each with its codes and its trend."""
    counts = list(_count_failures(statistics))
    if not counts:
        return []
    codes, trends = recent_attempts.count_failure_codes(figures.since), _compute_trends(figures)
    pages = {account.name: reverse("admin:providers_account_change", args=[account.id]) for account in accounts}
    causes = []
    for name, failure_class, count in counts:
        frequent = codes.get((name, failure_class), [])
        cause = FailureCause(
            account=name,
            failure_class=failure_class,
            words="Outcome unknown" if failure_class == UNKNOWN else str(FailureClass(failure_class).label),
            codes=", ".join(f"{code} ({number:,})" for code, number in frequent[:CODES_SHOWN]),
            calls=count,
            spark=chart_geometry.draw_spark(trends[name, failure_class]),
            url=_link_cause(name, failure_class, frequent, pages, period),
        )
        causes.append(cause)
    return sorted(causes, key=lambda cause: (-cause.calls, cause.account, cause.failure_class))


def _count_failures(statistics: Iterable[AccountStatistics]) -> Iterator[tuple[str, str, int]]:
    for account in statistics:
        for failure_class, count in {**account.refused, UNKNOWN: account.unknown}.items():
            if count:
                yield account.name, failure_class, count


def _link_cause(
    name: str, failure_class: str, codes: Sequence[tuple[str, int]], pages: Mapping[str, str], period: str
) -> str:
    """Return the list of emails refused because of themselves; for other causes, the account's last requests."""
    if failure_class == FailureClass.MESSAGE and codes:
        query = {"account": name, "q": f"reason:{codes[0][0]}", "age": period}
        return f"{reverse('admin:mails_mail_changelist')}?{urlencode(query)}"
    if failure_class == UNKNOWN:
        return f"{reverse('admin:mails_mail_changelist')}?{urlencode({'account': name, 'state': 'unknown'})}"
    return f"{pages[name]}#last-calls-table" if name in pages else ""


def _compute_trends(figures: Statistics) -> Mapping[tuple[str, str], Sequence[float]]:
    """Return the failed requests by account and failure class, interval by interval."""
    length = rollups.LENGTHS[figures.level]
    count = -(-(figures.until - figures.since) // length)
    trends: dict[tuple[str, str], list[float]] = defaultdict(lambda: [0.0] * count)
    for start, key, total in figures.rows:
        if key.kind == Counted.CALL and key.outcome in (AttemptState.REFUSED, AttemptState.UNKNOWN):
            failure_class = UNKNOWN if key.outcome == AttemptState.UNKNOWN else key.failure_class
            number = (rollups.floor_to_level(start, figures.level) - figures.since) // length
            trends[key.account, failure_class][min(max(number, 0), count - 1)] += total.count
    return trends
