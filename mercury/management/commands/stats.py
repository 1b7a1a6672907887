"""`manage.py stats`: show the system status and statistics for a period."""

import datetime as dt
import time
from collections.abc import Sequence
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mails.reporting import alerts, statistics, system_status
from mails.reporting.statistics import AccountStatistics, Durations, MailStatistics, PeriodTooLong, Statistics
from mails.reporting.system_status import AccountStatus, SystemStatus
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_clock
from mercury.lib.durations import format_duration
from mercury.lib.json_values import convert_to_plain
from providers.models import BreakerMode

INTERVAL = 5.0  # seconds between two refreshes with --watch
CLEAR = "\x1b[2J\x1b[H"
MAILS = {
    "arrived": "Received",
    "rate": "per min",
    "sent": "Sent",
    "failover": "Failover",
    "discarded": "Discarded",
    "expired": "Expired",
    "held": "Held",
    "suppressed": "Suppressed recipients",
    "queue_time": "Queue time p50/p95/p99",
    "acceptance": "Time to send p50/p95/p99",
}
WAITING = {"due": "Ready", "oldest": "Oldest", "deferred": "Retrying later", "scheduled": "Scheduled"}
CALLS = {
    "name": "Account",
    "breaker": "Breaker",
    "attempts": "Requests",
    "sent": "Sent",
    "share": "Share",
    "failures": "Failed",
    "message": "Message err.",
    "account": "Account err.",
    "rate": "Rate limit",
    "provider": "Provider err.",
    "unknown": "Unknown",
    "latency": "Latency p50/p95/p99",
}
TONES = {"Open": "bad", "Half-open": "waiting", "Forced open": "bad", "Closed": "ok"}


class Command(commands.MercuryCommand):
    """Show status and statistics."""

    help = (
        "System status and statistics for a period: counts, rates, failures, durations. "
        "Percentiles are accurate to 9.1 %."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--since",
            type=commands.parse_time_option,
            metavar="1h",
            help="Start of the period, which ends now: an age or a date (default: 1h).",
        )
        parser.add_argument(
            "--by", choices=["provider", "queue", "application"], help="Show only this table (default: all)."
        )
        parser.add_argument("--watch", action="store_true", help="Refresh every 5 s until Ctrl-C.")

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Show the statistics, once or repeatedly."""
        while True:
            now = database_clock.now()
            since = options["since"] or now - dt.timedelta(hours=1)
            if since >= now:
                raise CommandError("--since must be in the past.", returncode=ExitCode.USAGE_ERROR)
            try:
                figures = statistics.load_statistics(since, now)
            except PeriodTooLong as error:
                raise CommandError(f"--since: {error}", returncode=ExitCode.USAGE_ERROR) from error
            if options["watch"] and self.stdout.isatty() and not out.as_json:
                self.stdout.write(CLEAR, ending="")
            _show(out, figures, system_status.read_system_status(now), options["by"])
            if not options["watch"]:
                return None
            try:
                time.sleep(INTERVAL)
            except KeyboardInterrupt:
                return None


def _show(out: Output, figures: Statistics, found: SystemStatus, by: str | None) -> None:
    listed = alerts.find_alerts(found)
    summary = alerts.summarize(found, listed)
    wanted = {by} if by else {"queue", "provider", "application"}
    queues = statistics.summarize_queues(figures) if "queue" in wanted else []
    providers = statistics.summarize_accounts(figures) if "provider" in wanted else []
    applications = (
        statistics.summarize_applications(figures, statistics.load_application_names())
        if "application" in wanted
        else []
    )
    period = {"since": figures.since, "until": figures.until, "per": figures.level}
    tables = {"queues": queues, "providers": providers, "applications": applications}
    kept = {name: table for name, table in tables.items() if name.removesuffix("s") in wanted}
    out.write_document(convert_to_plain({"summary": summary, "alerts": listed, "now": found, **period, **kept}))
    if out.as_json:
        return
    out.say(summary, tone=listed[0].tone if listed else "ok")
    for alert in listed:
        since = f" (since {alert.since:%Y-%m-%d %H:%M:%S} UTC)" if alert.since else ""
        if alert.sentence != summary or since:
            out.say(f"  {alert.sentence}{since}", tone=alert.tone)
        out.say(f"    → {alert.remedy}")
    out.say(f"Since {figures.since:%Y-%m-%d %H:%M} UTC:")
    if "queue" in wanted:
        out.say()
        _show_queues(out, queues, found)
    if "provider" in wanted:
        out.say()
        _show_providers(out, providers, found)
    if "application" in wanted:
        out.say()
        rows = [_build_mail_row(application) for application in applications]
        out.write_rows(
            rows, columns={"name": "Application"} | MAILS, empty="No email from an application in this period."
        )


def _show_queues(out: Output, queues: Sequence[MailStatistics], found: SystemStatus) -> None:
    named = {figures.name: _build_mail_row(figures) for figures in queues}
    for queue in found.queues:
        if queue.due or queue.deferred or queue.scheduled or queue.queue in named:
            oldest = format_duration(queue.oldest) if queue.oldest is not None else ""
            waits = {
                "name": queue.queue,
                "due": queue.due,
                "oldest": oldest,
                "deferred": queue.deferred,
                "scheduled": queue.scheduled,
            }
            named[queue.queue] = named.get(queue.queue, {}) | waits
    out.write_rows(
        named.values(), columns={"name": "Queue"} | MAILS | WAITING, empty="No email in any queue in this period."
    )


def _show_providers(out: Output, providers: Sequence[AccountStatistics], found: SystemStatus) -> None:
    named = {figures.name: _request_row(figures) for figures in providers}
    for account in found.accounts:
        if account.enabled or account.name in named:
            named[account.name] = named.get(account.name, {"name": account.name}) | {
                "breaker": _name_breaker_state(account)
            }
    out.write_rows(named.values(), columns=CALLS, tones=TONES, empty="No provider account is enabled.")


def _build_mail_row(figures: MailStatistics) -> dict[str, object]:
    return {
        "name": figures.name,
        "arrived": figures.arrived,
        "rate": f"{figures.arrived_per_minute:.1f}",
        "sent": figures.sent,
        "failover": figures.failover,
        "discarded": figures.discarded,
        "expired": figures.expired,
        "held": figures.held,
        "suppressed": figures.suppressed,
        "queue_time": _format_spread(figures.queue_time),
        "acceptance": _format_spread(figures.acceptance),
    }


def _request_row(figures: AccountStatistics) -> dict[str, object]:
    return {
        "name": figures.name + (" (fastest)" if figures.fastest else ""),
        "attempts": figures.attempts,
        "sent": figures.sent,
        "share": f"{figures.share:.0%}",
        "failures": f"{figures.failure_rate:.1%}",
        **figures.refused,
        "unknown": figures.unknown,
        "latency": _format_spread(figures.latency),
    }


def _name_breaker_state(account: AccountStatus) -> str:
    return account.state.label if account.mode == BreakerMode.AUTO else account.mode.label


def _format_spread(spread: Durations) -> str:
    if spread.p50 is None or spread.p95 is None or spread.p99 is None:
        return ""
    return " / ".join(format_duration(seconds) for seconds in (spread.p50, spread.p95, spread.p99))
