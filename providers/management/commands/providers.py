"""`manage.py providers`: the accounts that mails leave by."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mercury.lib import commands, database_clock
from mercury.lib.commands import Exit
from providers import circuit_breaker, registry, trial
from providers.models import Account, BreakerMode
from providers.outcomes import Accepted
from providers.registry import Candidate

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
NOBODY = "somebody@example.com"


class Command(commands.MercuryCommand):
    """List and test accounts, force their breakers, enable and disable them."""

    help = "Provider accounts: what each does now, and what you want of it."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the words and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        commands.subcommand(words, "list", "Show all accounts with their breakers.")

        test = commands.subcommand(words, "test", "Send a test mail straight through one account.", makes_changes=True)
        test.add_argument("name", help="The account, as `list` shows it.")
        test.add_argument("--to", metavar="ADDRESS", help="Who gets it; only a sandbox does without.")
        test.add_argument("--from", dest="sender", metavar="ADDRESS", help="Who sends it. Default: the same address.")

        breaker = commands.subcommand(words, "breaker", "Force a breaker, or let it decide.", makes_changes=True)
        breaker.add_argument("name", help="The account, as `list` shows it.")
        breaker.add_argument("mode", choices=BreakerMode.values, help="open: no calls; closed: all; auto: as it finds.")
        breaker.add_argument("--why", default="", metavar="TEXT", help="For the account's history.")

        for word, text in {"enable": "Let an account be drawn again.", "disable": "Draw an account no more."}.items():
            switch = commands.subcommand(words, word, text, makes_changes=True)
            switch.add_argument("name", help="The account, as `list` shows it.")
            switch.add_argument("--why", default="", metavar="TEXT", help="For the account's history.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Do what the word says."""
        words = {"list": _list, "test": _test, "breaker": _breaker, "enable": _switch, "disable": _switch}
        return words[options["word"]](out, options)


def _list(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    candidates = registry.candidates()
    sources = dict(Account.objects.values_list("name", "source"))
    out.rows(
        [_row(candidate, sources.get(candidate.config.name, "")) for candidate in candidates],
        columns=COLUMNS,
        empty="No account.",
        tones=TONES,
    )
    return None


def _row(candidate: Candidate, source: str) -> dict[str, object]:
    config, breaker = candidate.config, candidate.breaker
    return {
        "name": config.name,
        "kind": config.kind,
        "source": source,
        "state": _state(candidate),
        "breaker": str(breaker.state if breaker.mode == BreakerMode.AUTO else breaker.mode),
        "says": circuit_breaker.describe(breaker, database_clock.now()),
        "weight": config.weight,
        "rate": f"{config.rate:g}/s" if config.rate else "",
    }


def _state(candidate: Candidate) -> str:
    if not candidate.configured:
        return "not configured here"
    return "in use" if candidate.enabled else "disabled"


def _test(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    candidate = _found(options["name"])
    name, is_sandbox = candidate.config.name, candidate.config.kind == "sandbox"
    recipient = options["to"] or (NOBODY if is_sandbox else "")
    if not recipient:
        raise CommandError("Say who gets the test mail: --to you@example.com.", returncode=Exit.WRONG_USE)
    sender = options["sender"] or recipient
    if options["dry_run"]:
        out.say(f"Would send a test mail to {recipient} through {name}.")
        out.document({"account": name, "sender": sender, "recipient": recipient})
        return None
    outcome = trial.send(candidate.config, sender=sender, recipient=recipient)
    is_taken = isinstance(outcome, Accepted)
    out.say(trial.words(name, outcome), tone="ok" if is_taken else "bad")
    out.document({"account": name, "outcome": type(outcome).__name__.lower(), "words": trial.words(name, outcome)})
    return None if is_taken else Exit.FAILED


def _breaker(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    name, mode = _found(options["name"]).config.name, BreakerMode(options["mode"])
    question = f"Nothing will leave by {name} until its breaker is set back to auto. Go on?"
    if options["dry_run"]:
        out.say(f"Would set the breaker of {name}: {mode.label.lower()}.")
        out.document({"account": name, "breaker": mode.value})
        return None
    if mode == BreakerMode.OPEN and not out.ask(question):
        return Exit.FAILED
    circuit_breaker.force(name, mode, by=BY, why=options["why"])
    out.say(f"The breaker of {name}: {mode.label.lower()}.")
    out.document({"account": name, "breaker": mode.value})
    return None


def _switch(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    candidate, enabled = _found(options["name"]), options["word"] == "enable"
    name = candidate.config.name
    if options["dry_run"]:
        out.say(f"Would {options['word']} {name}.")
        out.document({"account": name, "enabled": enabled})
        return None
    if not enabled and not out.ask(f"No mail will be given to {name} any more. Go on?"):
        return Exit.FAILED
    registry.update(Account.objects.get(pk=candidate.id), enabled=enabled, by=BY, why=options["why"])
    out.say(f"{name} is {'enabled' if enabled else 'disabled'}.")
    out.document({"account": name, "enabled": enabled})
    return None


def _found(name: str) -> Candidate:
    candidates = registry.candidates()
    for candidate in candidates:
        if candidate.config.name == name:
            return candidate
    known = ", ".join(candidate.config.name for candidate in candidates)
    raise CommandError(f"There is no account '{name}'. Known: {known}.", returncode=Exit.WRONG_USE)
