"""`manage.py sandbox`: tell a sandbox account to fail, so that a failover can be watched."""

import datetime as dt
from typing import Any

from django.core.management.base import CommandError, CommandParser

from mercury.lib import commands, durations
from mercury.lib.commands import Exit
from mercury.lib.database import database_clock
from providers.accounts import registry, sandboxes
from providers.accounts.errors import AccountChangeNotAllowed
from providers.models import Account
from providers.sandbox import failure_modes, mailbox

COLUMNS = {"account": "Account", "fault": "Fault", "until": "Until (UTC)", "kept": "Mails kept"}


class Command(commands.MercuryCommand):
    """Show, set and clear the faults of sandbox accounts."""

    help = "The sandbox: show what its accounts are told to do, make one fail, or make it well again."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the words and their options."""
        words = parser.add_subparsers(dest="word", metavar="WORD")
        commands.subcommand(words, "list", "Show the sandbox accounts, their faults and mailboxes. The default.")

        setter = commands.subcommand(words, "set", "Make an account fail for a while.", makes_changes=True)
        setter.add_argument("account", help="A sandbox account.")
        setter.add_argument(
            "fault", help="slow=3, refuse=503, hang, lose (takes the mail, loses the answer) or flap=10."
        )
        setter.add_argument(
            "--for",
            dest="how_long",
            type=commands.duration,
            default=dt.timedelta(minutes=1),
            metavar="1m",
            help="When it is well again by itself. Default: one minute.",
        )

        clear = commands.subcommand(words, "clear", "Make an account, or all of them, well again.", makes_changes=True)
        clear.add_argument("account", nargs="?", help="A sandbox account. Default: all.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Do what the word says."""
        if options["word"] == "set" and not options["dry_run"]:
            registry.sync()
        words = {"set": _set, "clear": _clear, "list": _list, None: _list}
        return words[options["word"]](out, options)


def _list(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    out.rows(
        [_row(account) for account in Account.objects.filter(kind="sandbox")],
        columns=COLUMNS,
        empty="There is no sandbox account. Add one: manage.py providers add try sandbox://",
    )
    return None


def _row(account: Account) -> dict[str, object]:
    fault = sandboxes.get_failure_mode(account)
    is_set = fault is not None and fault.until > database_clock.now()
    return {
        "account": account.name,
        "fault": str(fault) if is_set else "none",
        "until": f"{fault.until:%H:%M:%S}" if fault is not None and is_set else "",
        "until_at": fault.until if fault is not None and is_set else None,
        "kept": mailbox.count_messages(account.name),
    }


def _set(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    account = _found(options["account"])
    try:
        fault = failure_modes.parse_failure(options["fault"], until=database_clock.now() + options["how_long"])
        if not options["dry_run"]:
            sandboxes.set_failure_mode(account, fault)
    except (ValueError, AccountChangeNotAllowed) as error:
        raise CommandError(str(error), returncode=Exit.WRONG_USE) from None
    how_long = durations.words(options["how_long"].total_seconds())
    if options["dry_run"]:
        out.say(f"Would tell {account.name} for {how_long}: {fault}.")
    else:
        out.say(f"{account.name} is told for {how_long}: {fault}.")
    if why := registry.explain_unused(account):
        out.say(f"No email will notice: {why}.", tone="waiting")
    out.document({"account": account.name, "fault": str(fault), "until": fault.until})
    return None


def _clear(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    accounts = [_found(options["account"])] if options["account"] else list(Account.objects.filter(kind="sandbox"))
    for account in accounts if not options["dry_run"] else ():
        try:
            sandboxes.set_failure_mode(account, None)
        except AccountChangeNotAllowed as error:
            raise CommandError(str(error), returncode=Exit.WRONG_USE) from None
    names = [account.name for account in accounts]
    out.say(f"{'Would tell' if options['dry_run'] else 'Told'} to behave: {', '.join(names)}.")
    out.document({"accounts": names})
    return None


def _found(name: str) -> Account:
    account = Account.objects.filter(name=name).first()
    if account is None:
        known = ", ".join(Account.objects.filter(kind="sandbox").values_list("name", flat=True))
        raise CommandError(f"There is no account '{name}'. Sandboxes: {known}.", returncode=Exit.WRONG_USE)
    return account
