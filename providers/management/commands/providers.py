"""`manage.py providers`: the accounts that email leaves through."""

import sys
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from mercury.lib import commands
from mercury.lib.commands import Exit
from mercury.lib.database import database_clock
from providers.accounts import environment, registration, registry, secrets, test_send
from providers.accounts.config import AccountConfig
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.accounts.registry import Candidate
from providers.health import breaker_store
from providers.health.breaker import describe_breaker
from providers.models import Account, AccountSource, BreakerMode
from providers.outcomes import Accepted

BY = "command line"
COLUMNS = {
    "name": "Name",
    "kind": "Kind",
    "source": "From",
    "state": "State",
    "breaker": "Breaker",
    "says": "",
    "weight": "Weight",
    "rate": "Rate",
}
TONES = {"in use": "ok", "closed": "ok", "half-open": "waiting", "open": "bad", "disabled": "waiting"}
NONE_STORED = (
    "No account is stored yet. A server or worker stores those of its environment when it starts, or two sandboxes "
    "where it has none. One from here: manage.py providers add NAME URL"
)


class Command(commands.MercuryCommand):
    """List, test, add and remove accounts, force their breakers, enable and disable them."""

    help = (
        "Provider accounts: what each does now, and changes to them. A PROVIDER_ variable of this terminal stores "
        "nothing; `add` does."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the words and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        commands.subcommand(words, "list", "Show all accounts with their breakers.")

        add = commands.subcommand(words, "add", "Store an account, its options encrypted.", makes_changes=True)
        add.add_argument("name", help="A name of your own, such as mailgun-eu.")
        add.add_argument(
            "url",
            nargs="?",
            help="As in a PROVIDER_ variable; - reads it from standard input. Default: this terminal's variable of "
            "that name, which keeps the key out of the list of processes.",
        )

        remove = commands.subcommand(words, "remove", "Delete an account; its history stays.", makes_changes=True)
        remove.add_argument("name", help="The account, as `list` shows it.")

        test = commands.subcommand(words, "test", "Send a test email straight through one account.", makes_changes=True)
        test.add_argument("name", help="The account, as `list` shows it.")
        test.add_argument("--to", metavar="ADDRESS", help="Who gets it; a sandbox needs none.")
        test.add_argument("--from", dest="sender", metavar="ADDRESS", help="Who sends it. Default: the same address.")

        commands.subcommand(words, "encrypt", "Encrypt stored options with the newest key.", makes_changes=True)

        breaker = commands.subcommand(words, "breaker", "Force a breaker, or let it decide.", makes_changes=True)
        breaker.add_argument("name", help="The account, as `list` shows it.")
        breaker.add_argument("mode", choices=BreakerMode.values, help="open: no calls; closed: all; auto: as it finds.")
        breaker.add_argument("--why", default="", metavar="TEXT", help="For the account's history.")

        for word, text in {
            "enable": "Let an account be chosen again.",
            "disable": "Choose an account no more.",
        }.items():
            switch = commands.subcommand(words, word, text, makes_changes=True)
            switch.add_argument("name", help="The account, as `list` shows it.")
            switch.add_argument("--why", default="", metavar="TEXT", help="For the account's history.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Do what the word says."""
        words = {
            "list": _list,
            "add": _add,
            "remove": _remove,
            "test": _test,
            "encrypt": _encrypt,
            "breaker": _breaker,
            "enable": _switch,
            "disable": _switch,
        }
        try:
            return words[options["word"]](out, options)
        except (AccountChangeNotAllowed, AccountInvalid, ImproperlyConfigured) as refused:
            raise CommandError(str(refused), returncode=Exit.WRONG_USE) from None


def _list(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    rows = [_row(candidate) for candidate in registry.load_candidates()]
    rows += [_unstored_row(config) for config in registry.list_unstored().values()]
    out.rows(rows, columns=COLUMNS, empty=NONE_STORED, tones=TONES)
    return None


def _row(candidate: Candidate) -> dict[str, object]:
    config, breaker = candidate.config, candidate.breaker
    return {
        "name": config.name,
        "kind": config.kind,
        "source": candidate.source,
        "state": _state(candidate),
        "breaker": str(breaker.state if breaker.mode == BreakerMode.AUTO else breaker.mode),
        "says": describe_breaker(breaker, database_clock.now()),
        "weight": config.weight,
        "rate": f"{config.rate:g}/s" if config.rate else "",
    }


def _unstored_row(config: AccountConfig) -> dict[str, object]:
    return {
        "name": config.name,
        "kind": config.kind,
        "source": "this terminal",
        "state": "not stored",
        "breaker": "",
        "says": f"the server does not have it; store it: providers add {config.name}",
        "weight": config.weight,
        "rate": f"{config.rate:g}/s" if config.rate else "",
    }


def _state(candidate: Candidate) -> str:
    if not candidate.configured or _lacks_options(candidate):
        return "not configured here"
    return "in use" if candidate.enabled else "disabled"


def _lacks_options(candidate: Candidate) -> bool:
    """Return True for an account of the environment whose variable this terminal lacks; a server may have it."""
    return candidate.source == AccountSource.ENVIRONMENT and candidate.config.name not in environment.load_accounts()


def _add(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    name = options["name"]
    config = _typed(name, options["url"])
    if options["dry_run"]:
        out.say(f"Would add {name}, an account of kind {config.kind}.")
        out.document({"account": name, "kind": config.kind})
        return None
    had_only_sandboxes = not Account.objects.exclude(source=AccountSource.DEFAULT).exists()
    account = registration.register(
        name,
        config.kind,
        {option: value for option, value in config.options.items() if value not in (None, "")},
        weight=config.weight,
        rate=config.rate,
        trust_500=config.trust_500,
        by=BY,
    )
    more = " The default sandboxes are out of use from now on." if had_only_sandboxes else ""
    out.say(f"{name} is added and takes email from now on.{more}", tone="ok")
    out.say(f"See whether it works: manage.py providers test {name}{_to(config.kind)}")
    out.document({"account": account.name, "kind": config.kind, "enabled": account.enabled})
    return None


def _to(kind: str) -> str:
    return "" if kind == "sandbox" else " --to you@example.com"


def _typed(name: str, url: str | None) -> AccountConfig:
    """The account as it was typed: a URL, one from standard input, or this terminal's variable."""
    if url is None:
        config = environment.load_accounts().get(name)
        if config is None:
            variable = environment.get_variable(name)
            raise CommandError(
                f"Give its URL, or set {variable} in this terminal. docs/providers.md lists the URLs.",
                returncode=Exit.WRONG_USE,
            )
        return config
    return environment.parse_account(name, sys.stdin.readline().strip() if url == "-" else url)


def _remove(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    account = Account.objects.get(pk=_found(options["name"]).id)
    name, variable = account.name, environment.get_variable(account.name)
    from_environment = account.source == AccountSource.ENVIRONMENT
    comes_back = (
        f" A server or worker that still has {variable} stores it again at once: unset the variable and restart first."
        if from_environment
        else ""
    )
    registration.check_removable(account)
    if options["dry_run"]:
        out.say(f"Would delete {name} with its breaker.{comes_back}")
        out.document({"account": name})
        return None
    if not out.ask(f"Delete {name} with its breaker? Its history, emails and events keep its name.{comes_back}"):
        return Exit.FAILED
    registration.remove(account)
    out.say(f"{name} is deleted.{comes_back}", tone="ok")
    if not any(candidate.usable for candidate in registry.load_candidates()):
        out.say("No account can take email now: it is accepted and waits. Add one, or enable a sandbox: ", tone="bad")
        out.say("  manage.py providers enable sandbox-a")
    out.document({"account": name, "deleted": True})
    return None


def _test(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    config = registry.list_unstored().get(options["name"]) or _with_options(_found(options["name"]))
    name, is_sandbox = config.name, config.kind == "sandbox"
    recipient = options["to"] or (test_send.PLACEHOLDER_ADDRESS if is_sandbox else "")
    if not recipient:
        raise CommandError("Say who gets the test email: --to you@example.com.", returncode=Exit.WRONG_USE)
    sender = options["sender"] or recipient
    if options["dry_run"]:
        out.say(f"Would send a test email to {recipient} through {name}.")
        out.document({"account": name, "sender": sender, "recipient": recipient})
        return None
    try:
        [outcome] = test_send.run([config], sender=sender, recipient=recipient, by=BY)
    except test_send.DeliveryTestNotAllowed as refused:
        raise CommandError(f"Nothing was sent. {refused}") from None
    is_accepted = isinstance(outcome, Accepted)
    out.say(test_send.describe_outcome(name, outcome), tone="ok" if is_accepted else "bad")
    if name in registry.list_unstored():
        out.say(f"The server does not have it yet. Store it: manage.py providers add {name}")
    out.document(
        {"account": name, "outcome": type(outcome).__name__.lower(), "words": test_send.describe_outcome(name, outcome)}
    )
    return None if is_accepted else Exit.FAILED


def _with_options(candidate: Candidate) -> AccountConfig:
    name = candidate.config.name
    if _lacks_options(candidate):
        raise CommandError(
            f"The options of '{name}' are in the server's environment, not in this terminal's. Set "
            f"{environment.get_variable(name)} here as well, or test it on its page.",
            returncode=Exit.WRONG_USE,
        )
    if not candidate.configured:
        raise CommandError(f"The options of '{name}' cannot be read: MERCURY_ENCRYPTION_KEYS lacks their key.")
    return candidate.config


def _encrypt(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    """Encrypt stored options with the newest key; then older keys can be taken out of the settings."""
    found = secrets.encrypt_all_again(by=BY, dry_run=options["dry_run"])
    would = "Would encrypt" if options["dry_run"] else "Encrypted"
    out.say(f"{would} with the newest key: {', '.join(found.again) or 'none'}.")
    if found.current:
        out.say(f"Encrypted with it before: {', '.join(found.current)}.")
    if found.unreadable:
        out.say(
            f"Not readable with any key that is here: {', '.join(found.unreadable)}. Add their key to "
            "MERCURY_ENCRYPTION_KEYS and repeat, or enter their options again.",
            tone="bad",
        )
    out.document({"encrypted": found.again, "current": found.current, "unreadable": found.unreadable})
    return Exit.PARTLY_DONE if found.unreadable else None


def _breaker(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    name, mode = _found(options["name"]).config.name, BreakerMode(options["mode"])
    question = f"Nothing will leave by {name} until its breaker is set back to auto. Go on?"
    if options["dry_run"]:
        out.say(f"Would set the breaker of {name}: {mode.label.lower()}.")
        out.document({"account": name, "breaker": mode.value})
        return None
    if mode == BreakerMode.OPEN and not out.ask(question):
        return Exit.FAILED
    breaker_store.force(name, mode, by=BY, why=options["why"])
    out.say(f"The breaker of {name}: {mode.label.lower()}.")
    if mode != BreakerMode.OPEN:
        _say_why_unused(out, name)
    out.document({"account": name, "breaker": mode.value})
    return None


def _switch(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    candidate, enabled = _found(options["name"]), options["word"] == "enable"
    name = candidate.config.name
    account = Account.objects.get(pk=candidate.id)
    if options["dry_run"]:
        out.say(f"Would {options['word']} {name}.")
        out.document({"account": name, "enabled": enabled})
        return None
    if not enabled and not out.ask(f"No email will be given to {name} any more. Go on?"):
        return Exit.FAILED
    changed = account.enabled != enabled
    registration.update(account, enabled=enabled, by=BY, why=options["why"])
    out.say(f"{name} is {'enabled' if enabled else 'disabled'}{'' if changed else ', as it was before'}.")
    if enabled:
        _say_what_still_stops(out, candidate)
    out.document({"account": name, "enabled": enabled, "changed": changed})
    return None


def _say_what_still_stops(out: commands.Output, candidate: Candidate) -> None:
    """Tell why an account that is enabled still takes nothing."""
    name = candidate.config.name
    if not candidate.configured:
        out.say(f"The options of {name} cannot be read, so no email goes there.", tone="bad")
    if candidate.breaker.mode == BreakerMode.OPEN:
        out.say(f"It takes no email: its breaker is forced open. manage.py providers breaker {name} auto", tone="bad")
    _say_why_unused(out, name)


def _say_why_unused(out: commands.Output, name: str) -> None:
    if why := registry.explain_unused(Account.objects.get(name=name)):
        out.say(f"It takes no email: {why}.", tone="waiting")


def _found(name: str) -> Candidate:
    candidates = registry.load_candidates()
    for candidate in candidates:
        if candidate.config.name == name:
            return candidate
    if name in registry.list_unstored():
        raise CommandError(
            f"'{name}' is known to this terminal only. Store it first: manage.py providers add {name}",
            returncode=Exit.WRONG_USE,
        )
    known = ", ".join(candidate.config.name for candidate in candidates) or "none"
    raise CommandError(f"There is no account '{name}'. Known: {known}.", returncode=Exit.WRONG_USE)
