"""`manage.py stats`: how the house stands, and what happened over a period."""

import datetime as dt
import time
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.reporting import alerts, statistics, system_status
from mails.reporting.statistics import Figures, MailFigures, PeriodTooLong, ProviderFigures, Spread
from mails.reporting.system_status import Situation, Standing
from mercury.lib import commands
from mercury.lib.commands import Exit, Output
from mercury.lib.database import database_clock
from mercury.lib.durations import words
from mercury.lib.json_values import plain
from providers.models import BreakerMode

EVERY = 5.0  # seconds between two looks with --watch
CLEAR = "\x1b[2J\x1b[H"
MAILS = {
    "arrived": "Arrived",
    "rate": "a minute, average",
    "sent": "Sent",
    "failover": "Failover",
    "discarded": "Discarded",
    "expired": "Expired",
    "held": "Held",
    "queue": "Queue p50/p95/p99",
    "acceptance": "To sent p50/p95/p99",
}
WAITING = {"due": "Due", "oldest": "Oldest", "later": "Back-off"}
CALLS = {
    "name": "Account",
    "breaker": "Breaker",
    "calls": "Calls",
    "sent": "Sent",
    "share": "Share",
    "failures": "Failed",
    "message": "Message",
    "account": "Account's",
    "rate": "Rate",
    "provider": "Provider's",
    "unknown": "Unknown",
    "latency": "Took p50/p95/p99",
}
TONES = {"Open": "bad", "Half-open": "waiting", "Forced open": "bad", "Closed": "ok"}


class Command(commands.MercuryCommand):
    """The figures of the house."""

    help = (
        "System status, and what happened over a period: counts, rates, failures, times. "
        "Percentiles are at most 9.1 % off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--since",
            type=commands.moment,
            metavar="1h",
            help="The period, up to now: an age or a date (default: 1h).",
        )
        parser.add_argument("--by", choices=["provider", "lane", "application"], help="One table only (default: all).")
        parser.add_argument("--watch", action="store_true", help="Look again every 5 s, until Ctrl-C.")

    def run(self, out: Output, options: dict[str, Any]) -> Exit | None:
        """Show it, once or again and again."""
        while True:
            now = database_clock.now()
            since = options["since"] or now - dt.timedelta(hours=1)
            if since >= now:
                raise CommandError("--since: a time that has passed, please.", returncode=Exit.WRONG_USE)
            try:
                figures = statistics.load(since, now)
            except PeriodTooLong as error:
                raise CommandError(f"--since: {error}", returncode=Exit.WRONG_USE) from error
            if options["watch"] and self.stdout.isatty() and not out.as_json:
                self.stdout.write(CLEAR, ending="")
            _show(out, figures, system_status.read(now), options["by"])
            if not options["watch"]:
                return None
            try:
                time.sleep(EVERY)
            except KeyboardInterrupt:
                return None


def _show(out: Output, figures: Figures, found: Situation, by: str | None) -> None:
    listed = alerts.of(found)
    verdict = alerts.verdict(found, listed)
    wanted = {by} if by else {"lane", "provider", "application"}
    lanes = statistics.lanes(figures) if "lane" in wanted else []
    providers = statistics.providers(figures) if "provider" in wanted else []
    applications = statistics.applications(figures, statistics.application_names()) if "application" in wanted else []
    period = {"since": figures.since, "until": figures.until, "per": figures.level}
    tables = {"lanes": lanes, "providers": providers, "applications": applications}
    kept = {name: table for name, table in tables.items() if name.removesuffix("s") in wanted}
    out.document(plain({"verdict": verdict, "alerts": listed, "now": found, **period, **kept}))
    if out.as_json:
        return
    out.say(verdict, tone=listed[0].tone if listed else "ok")
    for alert in listed:
        since = f" (since {alert.since:%Y-%m-%d %H:%M:%S} UTC)" if alert.since else ""
        out.say(f"  {alert.sentence}{since}", tone=alert.tone)
        out.say(f"    → {alert.cure}")
    out.say(f"Since {figures.since:%Y-%m-%d %H:%M} UTC:")
    if "lane" in wanted:
        out.say()
        _show_lanes(out, lanes, found)
    if "provider" in wanted:
        out.say()
        _show_providers(out, providers, found)
    if "application" in wanted:
        out.say()
        rows = [_mails(one) for one in applications]
        out.rows(rows, columns={"name": "Application"} | MAILS, empty="No application had a mail in this period.")


def _show_lanes(out: Output, lanes: Sequence[MailFigures], found: Situation) -> None:
    named = {one.name: _mails(one) for one in lanes}
    for lane in found.waiting:
        if lane.due or lane.later or lane.lane in named:
            oldest = words(lane.oldest) if lane.oldest is not None else ""
            waits = {"name": lane.lane, "due": lane.due, "oldest": oldest, "later": lane.later}
            named[lane.lane] = named.get(lane.lane, {}) | waits
    out.rows(named.values(), columns={"name": "Lane"} | MAILS | WAITING, empty="No mail in any lane in this period.")


def _show_providers(out: Output, providers: Sequence[ProviderFigures], found: Situation) -> None:
    named = {one.name: _calls(one) for one in providers}
    for account in found.accounts:
        if account.enabled or account.name in named:
            named[account.name] = named.get(account.name, {"name": account.name}) | {"breaker": _breaker(account)}
    out.rows(named.values(), columns=CALLS, tones=TONES, empty="No provider account is enabled.")


def _mails(one: MailFigures) -> dict[str, object]:
    return {
        "name": one.name,
        "arrived": one.arrived,
        "rate": f"{one.arrived_per_minute:.1f}",
        "sent": one.sent,
        "failover": one.failover,
        "discarded": one.discarded,
        "expired": one.expired,
        "held": one.held,
        "queue": _spread(one.queue),
        "acceptance": _spread(one.acceptance),
    }


def _calls(one: ProviderFigures) -> dict[str, object]:
    return {
        "name": one.name + (" (fastest)" if one.fastest else ""),
        "calls": one.calls,
        "sent": one.sent,
        "share": f"{one.share:.0%}",
        "failures": f"{one.failure_rate:.1%}",
        **one.refused,
        "unknown": one.unknown,
        "latency": _spread(one.latency),
    }


def _breaker(account: Standing) -> str:
    return account.state.label if account.mode == BreakerMode.AUTO else account.mode.label


def _spread(spread: Spread) -> str:
    if spread.p50 is None or spread.p95 is None or spread.p99 is None:
        return ""
    return " / ".join(words(seconds) for seconds in (spread.p50, spread.p95, spread.p99))
