"""`manage.py demo --failover`: show a failover in the terminal. Uses sandbox accounts; nothing is delivered."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.urls import reverse
from django.utils import timezone

from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.submission import Submission
from mails.management import foreground_dispatch, mail_display
from mails.management.receipts import require_stored
from mails.models import Attempt, Mail
from mails.queues import QueueName
from mails.states import AttemptState, Source, Status
from mails.timeline.story import read_story
from mercury.lib import commands
from mercury.lib.commands import ExitCode
from providers.accounts import registry, sandboxes
from providers.health import breaker_store
from providers.health.breaker import BreakerSnapshot, describe_breaker
from providers.kinds.catalog import delivers
from providers.models import Account, Breaker, BreakerMode
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure

PATIENCE = 60.0  # seconds to wait for all emails together
FAULT = FailureKind.REFUSE
STATUS_CODE = 503.0


class Command(commands.MercuryCommand):
    """Show a failover between two accounts."""

    help = "Send emails through two sandbox accounts and show the result. With --failover one account fails and the other takes over."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument(
            "--failover", action="store_true", help="Simulate a failure: one account answers 503 to every request."
        )
        parser.add_argument(
            "--mails",
            type=commands.parse_integer_option(1, 1000),
            default=20,
            metavar="N",
            help="Number of emails (default: 20).",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Send the emails, wait, show the result, and restore the accounts."""
        healthy, failing = _find_two_sandboxes()
        count = options["mails"]
        out.say(
            f"Sending {count} emails through two sandbox accounts, {healthy.name} and {failing.name}. Nothing is delivered."
        )
        broken = failing if options["failover"] else None
        if options["dry_run"]:
            out.write_document(
                {"mails": count, "accounts": [healthy.name, failing.name], "failing": broken and broken.name}
            )
            return None
        with _simulate_failure(out, broken):
            mails = _submit(count)
            with foreground_dispatch.dispatch(list(QueueName.values)):
                ended = foreground_dispatch.wait_until(lambda: _count_open(mails) == 0, seconds=PATIENCE)
            figures = _read_figures(mails, [healthy, failing])
            _show_result(out, figures, mails)
        out.write_document({"mails": count, "sent": _count_sent(mails), "accounts": figures})
        if not ended:
            _explain_open(out, mails)
            return ExitCode.TIMED_OUT
        return None


def _find_two_sandboxes() -> tuple[Account, Account]:
    """Return two sandbox accounts. Raises CommandError if emails could leave through another account."""
    registry.sync()
    used = [candidate for candidate in registry.load_candidates() if candidate.enabled and candidate.configured]
    others = [candidate.config.name for candidate in used if delivers(candidate.config.kind)]
    if others:
        raise CommandError(
            f"The demo runs with sandbox accounts only. Its emails would be sent through {', '.join(others)}. "
            "Run it with another MERCURY_DATA and no PROVIDER_<NAME> set."
        )
    names = [candidate.config.name for candidate in used][:2]
    if len(names) < 2:
        raise CommandError("The demo needs two enabled sandbox accounts: PROVIDER_A=sandbox: and PROVIDER_B=sandbox:.")
    first, second = Account.objects.filter(name__in=names).order_by("name")
    return second, first


@contextmanager
def _simulate_failure(out: commands.Output, account: Account | None) -> Iterator[None]:
    """Make the account refuse everything while the block runs; afterwards clear the failure and close the breaker."""
    if account is None:
        yield
        return
    until = timezone.now() + dt.timedelta(seconds=2 * PATIENCE)
    breaker_store.force(account.name, BreakerMode.AUTO, by="demo")
    sandboxes.set_failure_mode(account, SimulatedFailure(kind=FAULT, value=STATUS_CODE, until=until))
    out.say(f"{account.name} now answers {STATUS_CODE:.0f} to every request.", tone="bad")
    try:
        yield
    finally:
        sandboxes.set_failure_mode(account, None)
        breaker_store.force(account.name, BreakerMode.AUTO, by="demo")
        out.say(f"{account.name} has recovered.", tone="ok")


def _submit(count: int) -> list[Mail]:
    fields = {
        "sender": "zeus@olimpus.com",
        "recipient": "hera@olimpus.com",
        "content": "An email of `manage.py demo`. It stays in the sandbox.",
    }
    submissions = [
        Submission(fields=fields | {"subject": f"Demo {number} of {count}"}) for number in range(1, count + 1)
    ]
    return [require_stored(receipt) for receipt in accept(submissions, client=Client(source=Source.COMMAND))]


def _count_open(mails: Sequence[Mail]) -> int:
    return (
        len(mails)
        - Mail.objects.filter(pk__in=[mail.pk for mail in mails], status__in=foreground_dispatch.ENDED_STATES).count()
    )


def _count_sent(mails: Sequence[Mail]) -> int:
    return Mail.objects.filter(pk__in=[mail.pk for mail in mails], status=Status.DONE).count()


def _read_figures(mails: Sequence[Mail], accounts: Sequence[Account]) -> list[dict[str, object]]:
    """Return the number of requests to each account, and their results."""
    rows = Attempt.objects.filter(mail__in=[mail.pk for mail in mails]).values_list("account", "state")
    counts = Counter(rows)
    now = timezone.now()
    breakers = {breaker.account_id: breaker for breaker in Breaker.objects.filter(account__in=accounts)}
    return [
        {
            "account": account.name,
            "requests": sum(count for (name, _), count in counts.items() if name == account.name),
            "accepted": counts[account.name, AttemptState.ACCEPTED],
            "refused": counts[account.name, AttemptState.REFUSED],
            "breaker": describe_breaker(BreakerSnapshot.from_row(breakers[account.pk]), now),
        }
        for account in accounts
    ]


def _show_result(out: commands.Output, figures: list[dict[str, object]], mails: Sequence[Mail]) -> None:
    if out.as_json:
        return
    out.say()
    columns = {
        "account": "Account",
        "requests": "Requests",
        "accepted": "Accepted",
        "refused": "Refused",
        "breaker": "Breaker",
    }
    out.write_rows(figures, columns=columns, empty="")
    out.say()
    out.say(f"{_count_sent(mails)} of {len(mails)} emails sent.", tone="ok")
    longest = Mail.objects.filter(pk__in=[mail.pk for mail in mails]).order_by("-attempt_count", "id").first()
    if longest is not None:
        out.say()
        out.say(f"Timeline of one of them, {longest.subject} ({longest.pk}):")
        out.say()
        for entry in read_story(longest, timezone.now()).entries:
            mail_display.show_entry(out, entry, reasons=True)
    out.say()
    out.say(f"Overview: {mail_display.build_page_url(reverse('admin:index'))}")


def _explain_open(out: commands.Output, mails: Sequence[Mail]) -> None:
    """Explain why emails are still pending: a pause, or no running dispatcher."""
    pending = (
        Mail.objects.filter(pk__in=[mail.pk for mail in mails])
        .exclude(status__in=foreground_dispatch.ENDED_STATES)
        .order_by("id")
    )
    out.say(f"{len(pending)} emails are still pending.", tone="waiting")
    if not pending or mail_display.show_pauses(out, queues={mail.queue for mail in pending}):
        return
    if not settings.MERCURY_EMBEDDED and not foreground_dispatch.is_dispatcher_running():
        out.say("No worker is running. Start one: manage.py worker", tone="waiting")
    else:
        out.say(f"See what one of them is waiting for: manage.py mail {pending[0].pk}")
