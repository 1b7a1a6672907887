"""`manage.py sandbox`: simulate failures of sandbox accounts, to watch a failover."""

import datetime as dt
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mercury.lib import commands, durations
from mercury.lib.commands import ExitCode
from mercury.lib.database import database_clock
from providers.accounts import registry, sandboxes
from providers.accounts.errors import AccountChangeNotAllowed
from providers.kinds.catalog import SIMULATE_FAILURES
from providers.models import Account
from providers.sandbox import failure_modes, mailbox

COLUMNS = {"account": "Account", "failure_mode": "Failure mode", "until": "Until (UTC)", "captured": "Captured emails"}


class Command(commands.MercuryCommand):
    """List, set and clear the failure modes of sandbox accounts."""

    help = "Simulate failures of sandbox accounts: list, set or clear their failure modes."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", metavar="WORD")
        commands.add_subcommand(words, "list", "List sandbox accounts with failure mode and mailbox. Default.")

        setter = commands.add_subcommand(
            words, "set", "Set the failure mode of an account for some time.", makes_changes=True
        )
        setter.add_argument("account", help="Sandbox account.")
        setter.add_argument(
            "failure_mode",
            help="slow=3 (accepts after 3 s), refuse=503, hang, lose (accepts, but the answer is lost) or "
            "flap=10 (alternates between healthy and 503 every 10 s).",
        )
        setter.add_argument(
            "--for",
            dest="how_long",
            type=commands.parse_duration_option,
            default=dt.timedelta(minutes=1),
            metavar="1m",
            help="Duration; then it ends automatically (default: 1m).",
        )

        clear = commands.add_subcommand(
            words, "clear", "Clear the failure mode of one account, or of all.", makes_changes=True
        )
        clear.add_argument("account", nargs="?", help="Sandbox account. Default: all.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        if options["word"] == "set" and not options["dry_run"]:
            registry.sync()
        words = {"set": _set, "clear": _clear, "list": _list, None: _list}
        return words[options["word"]](out, options)


def _list(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    out.write_rows(
        [_build_row(account) for account in Account.objects.filter(kind__in=SIMULATE_FAILURES)],
        columns=COLUMNS,
        empty="No sandbox accounts. Add one: manage.py providers add try sandbox://",
    )
    return None


def _build_row(account: Account) -> dict[str, object]:
    failure = sandboxes.get_failure_mode(account)
    is_set = failure is not None and failure.until > database_clock.now()
    return {
        "account": account.name,
        "failure_mode": str(failure) if is_set else "none",
        "until": f"{failure.until:%H:%M:%S}" if failure is not None and is_set else "",
        "until_at": failure.until if failure is not None and is_set else None,
        "captured": mailbox.count_messages(account.name),
    }


def _set(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    account = _find(options["account"])
    try:
        failure = failure_modes.parse_failure(options["failure_mode"], until=database_clock.now() + options["how_long"])
        if options["dry_run"]:
            sandboxes.check_kind(account)
        else:
            sandboxes.set_failure_mode(account, failure)
    except (ValueError, AccountChangeNotAllowed) as error:
        raise CommandError(str(error), returncode=ExitCode.USAGE_ERROR) from None
    how_long = durations.format_duration(options["how_long"].total_seconds())
    if options["dry_run"]:
        out.say(f"Would simulate {failure} on {account.name} for {how_long}.")
    else:
        out.say(f"{account.name} simulates {failure} for {how_long}.")
    if why := registry.explain_unused(account):
        out.say(f"No email will be affected: {why}.", tone="waiting")
    out.write_document({"account": account.name, "failure_mode": str(failure), "until": failure.until})
    return None


def _clear(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    accounts = (
        [_find(options["account"])] if options["account"] else list(Account.objects.filter(kind__in=SIMULATE_FAILURES))
    )
    for account in accounts:
        try:
            if options["dry_run"]:
                sandboxes.check_kind(account)
            else:
                sandboxes.set_failure_mode(account, None)
        except AccountChangeNotAllowed as error:
            raise CommandError(str(error), returncode=ExitCode.USAGE_ERROR) from None
    names = [account.name for account in accounts]
    out.say(f"{'Would clear' if options['dry_run'] else 'Cleared'} the failure mode of {', '.join(names)}.")
    out.write_document({"accounts": names})
    return None


def _find(name: str) -> Account:
    account = Account.objects.filter(name=name).first()
    if account is None:
        known = ", ".join(Account.objects.filter(kind__in=SIMULATE_FAILURES).values_list("name", flat=True))
        raise CommandError(f"No account '{name}'. Sandbox accounts: {known}.", returncode=ExitCode.USAGE_ERROR)
    return account
