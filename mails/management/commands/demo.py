"""`manage.py demo --failover`: a small story in the terminal, with the sandbox accounts and no mail to anybody."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from django.urls import reverse
from django.utils import timezone

from mails import timeline
from mails.intake.accept import Client, accept
from mails.lanes import Lane
from mails.management import foreground, terminal
from mails.models import Attempt, Mail
from mails.states import AttemptState, Source, Status
from mercury.lib import commands
from mercury.lib.commands import Exit
from providers import circuit_breaker, registry
from providers.models import Account, Breaker, BreakerMode
from providers.sandbox.faults import FaultKind, FaultSetting

PATIENCE = 60.0  # seconds for all mails together
FAULT = FaultKind.REFUSE
STATUS_CODE = 503.0


class Command(commands.MercuryCommand):
    """Tell a story of two accounts."""

    help = "Watch mails go out through two sandbox accounts; with --failover one of them refuses, and the other takes over."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        parser.add_argument("--failover", action="store_true", help="Let one account answer 503 to everything.")
        parser.add_argument(
            "--mails", type=commands.whole(1, 1000), default=20, metavar="N", help="How many (default: 20)."
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Send, wait, tell, and leave the accounts as they were."""
        well, ill = _two_sandboxes()
        count = options["mails"]
        out.say(f"{count} mails go out through two sandbox accounts, {well.name} and {ill.name}. Nobody receives one.")
        broken = ill if options["failover"] else None
        if options["dry_run"]:
            out.document({"mails": count, "accounts": [well.name, ill.name], "failing": broken and broken.name})
            return None
        with _failing(out, broken):
            mails = [_hand_in(number, count) for number in range(1, count + 1)]
            with foreground.draining(list(Lane.values)):
                ended = foreground.wait_until(lambda: _open(mails) == 0, seconds=PATIENCE)
            figures = _figures(mails, [well, ill])
            _tell(out, figures, mails)
        out.document({"mails": count, "sent": _sent(mails), "accounts": figures})
        if not ended:
            _tell_why_open(out, mails)
            return Exit.WAITED_IN_VAIN
        return None


def _two_sandboxes() -> tuple[Account, Account]:
    """Two sandbox accounts, if mails can go nowhere else."""
    registry.sync()
    used = [candidate for candidate in registry.candidates() if candidate.enabled and candidate.configured]
    others = [candidate.config.name for candidate in used if candidate.config.kind != "sandbox"]
    if others:
        raise CommandError(
            f"The demo needs sandbox accounts only, or its mails would go out through {', '.join(others)}. "
            "Run it with another MERCURY_DATA and no PROVIDER_<NAME> set."
        )
    names = [candidate.config.name for candidate in used][:2]
    if len(names) < 2:
        raise CommandError("The demo needs two enabled sandbox accounts: PROVIDER_A=sandbox: and PROVIDER_B=sandbox:.")
    first, second = Account.objects.filter(name__in=names).order_by("name")
    return second, first


@contextmanager
def _failing(out: commands.Output, account: Account | None) -> Iterator[None]:
    """Let the account refuse everything while the block runs; afterwards it is well, and its breaker closed."""
    if account is None:
        yield
        return
    until = timezone.now() + dt.timedelta(seconds=2 * PATIENCE)
    circuit_breaker.force(account.name, BreakerMode.AUTO, by="demo")
    registry.set_fault(account, FaultSetting(FAULT, STATUS_CODE, until))
    out.say(f"{account.name} answers {STATUS_CODE:.0f} to everything from now on.", tone="bad")
    try:
        yield
    finally:
        registry.set_fault(account, None)
        circuit_breaker.force(account.name, BreakerMode.AUTO, by="demo")
        out.say(f"{account.name} is well again.", tone="ok")


def _hand_in(number: int, count: int) -> Mail:
    data = {
        "sender": "zeus@olimpus.com",
        "recipient": "hera@olimpus.com",
        "subject": f"Demo {number} of {count}",
        "content": "A mail of `manage.py demo`. It stays in the sandbox.",
    }
    return accept(data, client=Client(Source.COMMAND)).mail


def _open(mails: Sequence[Mail]) -> int:
    return len(mails) - Mail.objects.filter(pk__in=[mail.pk for mail in mails], status__in=foreground.ENDED).count()


def _sent(mails: Sequence[Mail]) -> int:
    return Mail.objects.filter(pk__in=[mail.pk for mail in mails], status=Status.DONE).count()


def _figures(mails: Sequence[Mail], accounts: Sequence[Account]) -> list[dict[str, object]]:
    """What each account was asked and what it answered."""
    rows = Attempt.objects.filter(mail__in=[mail.pk for mail in mails]).values_list("account", "state")
    counts = Counter(rows)
    now = timezone.now()
    breakers = {breaker.account_id: breaker for breaker in Breaker.objects.filter(account__in=accounts)}
    return [
        {
            "account": account.name,
            "calls": sum(count for (name, _), count in counts.items() if name == account.name),
            "took": counts[account.name, AttemptState.ACCEPTED],
            "refused": counts[account.name, AttemptState.REFUSED],
            "breaker": circuit_breaker.describe(circuit_breaker.Snapshot.of(breakers[account.pk]), now),
        }
        for account in accounts
    ]


def _tell(out: commands.Output, figures: list[dict[str, object]], mails: Sequence[Mail]) -> None:
    if out.as_json:
        return
    out.say()
    columns = {"account": "Account", "calls": "Calls", "took": "Took", "refused": "Refused", "breaker": "Breaker"}
    out.rows(figures, columns=columns, empty="")
    out.say()
    out.say(f"{_sent(mails)} of {len(mails)} mails were sent.", tone="ok")
    longest = Mail.objects.filter(pk__in=[mail.pk for mail in mails]).order_by("-attempt_count", "id").first()
    if longest is not None:
        out.say()
        out.say(f"One of them, {longest.subject} ({longest.pk}):")
        out.say()
        for entry in timeline.story(longest, timezone.now()).entries:
            terminal.show_entry(out, entry, reasons=True)
    out.say()
    out.say(f"How many mails are where, and each account with its breaker: {terminal.place(reverse('admin:index'))}")


def _tell_why_open(out: commands.Output, mails: Sequence[Mail]) -> None:
    """What keeps the mails that have not ended in time: who holds them back, or that nobody drains."""
    still = Mail.objects.filter(pk__in=[mail.pk for mail in mails]).exclude(status__in=foreground.ENDED).order_by("id")
    out.say(f"{len(still)} mails are still open.", tone="waiting")
    if not still or terminal.show_hold(out, lanes={mail.lane for mail in still}):
        return
    if not settings.MERCURY_EMBEDDED and not foreground.somebody_drains():
        out.say("Nobody sends: no worker is running. Start one: manage.py worker", tone="waiting")
    else:
        out.say(f"What one of them waits for: manage.py mail {still[0].pk}")
