"""`manage.py providers`: list and control provider accounts."""

import sys
from collections.abc import Sequence
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser

from mercury.lib import commands
from mercury.lib.commands import ExitCode
from mercury.lib.database import database_clock
from providers.accounts import delivery_test, environment, registration, registry, secrets
from providers.accounts.config import AccountConfig
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.accounts.registry import Candidate
from providers.health import breaker_store
from providers.kinds.base import Option, ProviderKind
from providers.kinds.catalog import KINDS, delivers
from providers.models import Account, AccountSource, BreakerMode
from providers.outcomes import Accepted, NotAttempted, Outcome, Refused, Unknown
from providers.quotas.rules import QuotaInvalid, build_rules, list_values, read_texts
from providers.routing.quota_status import QuotaStatus, describe_quota
from providers.routing.refusing_accounts import describe_account, load_refusals

BY = "command line"
QUOTA_OPTIONS = {
    "daily_quota": ("N", "At most this many in a day; none: no limit."),
    "monthly_quota": ("N", "At most this many in a month; none: no limit."),
    "quota_spread": ("on|off|auto", "Give each day an equal share of what is left of the month."),
    "quota_zone": ("ZONE", "Time zone in which the provider's day begins, such as UTC."),
    "quota_month_day": ("DAY", "Day on which the provider's month begins, 1 to 28."),
    "warm_up": ("RAMP", "First day and ramp: 2026-12-01:50,100,500 or 2026-12-01:30d; none: no ramp."),
}
COLUMNS = {
    "name": "Name",
    "kind": "Kind",
    "source": "From",
    "state": "State",
    "breaker": "Breaker",
    "says": "Status",
    "weight": "Weight",
    "priority": "Priority",
    "rate": "Rate",
    "quota": "Quota",
}
TONES = {"active": "ok", "closed": "ok", "half-open": "waiting", "open": "bad", "disabled": "waiting"}
_OUTCOMES: dict[type[Outcome], str] = {
    Accepted: "accepted",
    Refused: "refused",
    Unknown: "unknown",
    NotAttempted: "not-attempted",
}
NONE_STORED = (
    "No accounts yet. A server or worker stores the accounts of its environment when it starts, or two sandbox accounts "
    "if there are none. To add one here: manage.py providers add NAME URL"
)


class Command(commands.MercuryCommand):
    """List and control provider accounts."""

    help = "List and control provider accounts. A PROVIDER_ variable in this terminal does not store an account; use `add`."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")
        commands.add_subcommand(words, "list", "List all accounts with their breakers.")

        add = commands.add_subcommand(
            words, "add", "Add an account; its options are stored encrypted.", makes_changes=True
        )
        add.add_argument("name", help="A name of your choice, such as mailgun-eu.")
        add.add_argument(
            "url",
            nargs="?",
            help="URL as in a PROVIDER_ variable; - reads it from standard input. Default: the variable of this name in "
            "this terminal, which keeps the key out of process lists.",
        )

        remove = commands.add_subcommand(words, "remove", "Delete an account; its history is kept.", makes_changes=True)
        remove.add_argument("name", help="Account name, as shown by `list`.")

        test = commands.add_subcommand(words, "test", "Send a test email through one account.", makes_changes=True)
        test.add_argument("name", help="Account name, as shown by `list`.")
        test.add_argument("--to", metavar="ADDRESS", help="Recipient (optional for sandbox accounts).")
        test.add_argument("--from", dest="sender", metavar="ADDRESS", help="Sender. Default: the recipient.")

        commands.add_subcommand(words, "kinds", "List provider kinds: their URLs, options and capabilities.")

        commands.add_subcommand(words, "encrypt", "Encrypt stored options with the newest key.", makes_changes=True)

        breaker = commands.add_subcommand(
            words, "breaker", "Force a breaker open or closed, or set it to automatic.", makes_changes=True
        )
        breaker.add_argument("name", help="Account name, as shown by `list`.")
        breaker.add_argument(
            "mode",
            choices=BreakerMode.values,
            help="open: no requests; closed: all requests; auto: opens and closes automatically.",
        )
        breaker.add_argument("--note", default="", metavar="WHY", help="Reason, for the account's history.")

        opened = commands.add_subcommand(
            words, "open", "Open an account that its provider said is out of quota.", makes_changes=True
        )
        opened.add_argument("name", help="Account name, as shown by `list`.")
        opened.add_argument("--note", default="", metavar="WHY", help="Reason, for the account's history.")

        quota = commands.add_subcommand(words, "quota", "Show or change the quotas of an account.", makes_changes=True)
        quota.add_argument("name", help="Account name, as shown by `list`.")
        for field, (metavar, text) in QUOTA_OPTIONS.items():
            flag = "--" + field.replace("_", "-").removesuffix("-quota").removeprefix("quota-")
            quota.add_argument(flag, dest=field, metavar=metavar, help=text)
        quota.add_argument("--note", default="", metavar="WHY", help="Reason, for the account's history.")

        for word, text in {
            "enable": "Enable an account.",
            "disable": "Disable an account.",
        }.items():
            switch = commands.add_subcommand(words, word, text, makes_changes=True)
            switch.add_argument("name", help="Account name, as shown by `list`.")
            switch.add_argument("--note", default="", metavar="WHY", help="Reason, for the account's history.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        words = {
            "list": _list,
            "kinds": _list_kinds,
            "add": _add,
            "remove": _remove,
            "test": _test,
            "encrypt": _encrypt,
            "breaker": _set_breaker,
            "open": _open,
            "quota": _set_quota,
            "enable": _set_enabled,
            "disable": _set_enabled,
        }
        try:
            return words[options["word"]](out, options)
        except (AccountChangeNotAllowed, AccountInvalid, ImproperlyConfigured) as refused:
            raise CommandError(str(refused), returncode=ExitCode.USAGE_ERROR) from None


def _list(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    candidates, now = registry.load_candidates(), database_clock.now()
    refusals = load_refusals(candidates, now)
    rows = [_build_row(candidate, describe_account(candidate, refusals, now)) for candidate in candidates]
    rows += [_build_unstored_row(config) for config in registry.list_unstored().values()]
    out.write_rows(rows, columns=COLUMNS, empty=NONE_STORED, tones=TONES)
    return None


def _list_kinds(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    for kind in KINDS.values():
        out.write_document(_build_kind_row(kind))
        out.say(f"{kind.label} ({kind.key}), docs/providers/{kind.key}.md", tone="ok")
        for label, lines in _describe_kind(kind).items():
            for number, line in enumerate(lines):
                out.say(f"  {'' if number else label:8} {line}")
    return None


def _describe_kind(kind: ProviderKind) -> dict[str, Sequence[str]]:
    """Return lines by label: how the kind is configured, and what it can and cannot do."""
    lines = {
        "URL": [", ".join(f"{scheme}://…" for scheme in kind.schemes)],
        "Regions": [", ".join(kind.regions)] if kind.regions else [],
        "Options": [", ".join(map(_describe_option, kind.options)) or "none"],
    }
    return {**lines, "Can": kind.capabilities.can, "Cannot": kind.capabilities.cannot}


def _describe_option(option: Option) -> str:
    words = ("required" if option.required else "", "secret" if option.secret else "")
    marks = ", ".join(filter(None, words))
    return f"{option.name} ({marks})" if marks else option.name


def _build_kind_row(kind: ProviderKind) -> dict[str, Any]:
    return {
        "kind": kind.key,
        "label": kind.label,
        "urls": [f"{scheme}://" for scheme in kind.schemes],
        "regions": list(kind.regions),
        "options": [option.name for option in kind.options],
        "can": kind.capabilities.can,
        "cannot": kind.capabilities.cannot,
    }


def _build_row(candidate: Candidate, says: str) -> dict[str, object]:
    config, breaker = candidate.config, candidate.breaker
    return {
        "name": config.name,
        "kind": config.kind,
        "source": candidate.source,
        "state": _describe_state(candidate),
        "breaker": str(breaker.state if breaker.mode == BreakerMode.AUTO else breaker.mode),
        "says": says,
        "weight": config.weight,
        "priority": config.priority,
        "rate": f"{config.rate:g}/s" if config.rate else "",
        "quota": _describe_quota_use(describe_quota(candidate, database_clock.now())),
    }


def _describe_quota_use(quota: QuotaStatus) -> str:
    words = (quota.use, f"warm-up {quota.warm_up}" if quota.warm_up else "", quota.reason)
    return "; ".join(filter(None, words))


def _build_unstored_row(config: AccountConfig) -> dict[str, object]:
    return {
        "name": config.name,
        "kind": config.kind,
        "source": "this terminal",
        "state": "not stored",
        "breaker": "",
        "says": f"known only in this terminal; to store it: providers add {config.name}",
        "weight": config.weight,
        "priority": config.priority,
        "rate": f"{config.rate:g}/s" if config.rate else "",
        "quota": "",
    }


def _describe_state(candidate: Candidate) -> str:
    if not candidate.configured or _is_missing_options(candidate):
        return "missing credentials"
    return "active" if candidate.enabled else "disabled"


def _is_missing_options(candidate: Candidate) -> bool:
    """Return True for an account of the environment whose variable this terminal lacks; a server may have it."""
    return candidate.source == AccountSource.ENVIRONMENT and candidate.config.name not in environment.load_accounts()


def _add(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    name = options["name"]
    config = _read_account(name, options["url"])
    given = {option: value for option, value in config.options.items() if value not in (None, "")}
    numbers: dict[str, Any] = {
        "weight": config.weight,
        "priority": config.priority,
        "rate": config.rate,
        "quota": list_values(config.quota),
    }
    if options["dry_run"]:
        registration.check_new(name, config.kind, given, **numbers)
        out.say(f"Would add {name} ({config.kind}).")
        out.write_document({"account": name, "kind": config.kind})
        return None
    had_only_sandboxes = not Account.objects.exclude(source=AccountSource.DEFAULT).exists()
    account = registration.register(name, config.kind, given, **numbers, trust_500=config.trust_500, by=BY)
    more = " The default sandbox accounts are no longer used." if had_only_sandboxes else ""
    out.say(f"{name} is added and active.{more}", tone="ok")
    out.say(f"Test it: manage.py providers test {name}{_name_recipient_option(config.kind)}")
    out.write_document({"account": account.name, "kind": config.kind, "enabled": account.enabled})
    return None


def _name_recipient_option(kind: str) -> str:
    return " --to you@example.com" if delivers(kind) else ""


def _read_account(name: str, url: str | None) -> AccountConfig:
    """Read the account from a URL, from standard input, or from the variable in this terminal."""
    if url is None:
        config = environment.load_accounts().get(name)
        if config is None:
            variable = environment.get_variable(name)
            raise CommandError(
                f"Specify its URL, or set {variable} in this terminal. docs/providers/ has the URL of each kind.",
                returncode=ExitCode.USAGE_ERROR,
            )
        return config
    return environment.parse_account(name, sys.stdin.readline().strip() if url == "-" else url)


def _remove(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    account = Account.objects.get(pk=_find(options["name"]).id)
    name, variable = account.name, environment.get_variable(account.name)
    from_environment = account.source == AccountSource.ENVIRONMENT
    comes_back = (
        f" Servers and workers that still have {variable} will add it again: unset the variable and restart them first."
        if from_environment
        else ""
    )
    registration.check_removable(account)
    if options["dry_run"]:
        out.say(f"Would delete {name} and its breaker.{comes_back}")
        out.write_document({"account": name})
        return None
    if not out.ask(f"Delete {name} and its breaker? Its history, emails and events keep its name.{comes_back}"):
        return ExitCode.FAILED
    registration.remove(account)
    out.say(f"{name} is deleted.{comes_back}", tone="ok")
    if not any(candidate.usable for candidate in registry.load_candidates()):
        out.say("No account is available: email is queued. Add an account, or enable a sandbox account: ", tone="bad")
        out.say("  manage.py providers enable sandbox-a")
    out.write_document({"account": name, "deleted": True})
    return None


def _test(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    config = registry.list_unstored().get(options["name"]) or _require_options(_find(options["name"]))
    name = config.name
    recipient = options["to"] or ("" if delivers(config.kind) else delivery_test.PLACEHOLDER_ADDRESS)
    if not recipient:
        raise CommandError(
            "Specify the recipient of the test email: --to you@example.com.", returncode=ExitCode.USAGE_ERROR
        )
    sender = options["sender"] or recipient
    if options["dry_run"]:
        out.say(f"Would send a test email to {recipient} through {name}.")
        out.write_document({"account": name, "sender": sender, "recipient": recipient})
        return None
    try:
        [outcome] = delivery_test.run([config], sender=sender, recipient=recipient, by=BY)
    except delivery_test.DeliveryTestNotAllowed as refused:
        raise CommandError(f"Nothing was sent. {refused}") from None
    is_accepted = isinstance(outcome, Accepted)
    out.say(delivery_test.describe_outcome(name, outcome), tone="ok" if is_accepted else "bad")
    if name in registry.list_unstored():
        out.say(f"It is not stored yet. To store it: manage.py providers add {name}")
    out.write_document(
        {
            "account": name,
            "outcome": _OUTCOMES[type(outcome)],
            "words": delivery_test.describe_outcome(name, outcome),
        }
    )
    return None if is_accepted else ExitCode.FAILED


def _require_options(candidate: Candidate) -> AccountConfig:
    name = candidate.config.name
    if _is_missing_options(candidate):
        raise CommandError(
            f"The credentials of '{name}' are in the server's environment, but not in this terminal. Set "
            f"{environment.get_variable(name)} here too, or test the account on its page.",
            returncode=ExitCode.USAGE_ERROR,
        )
    if not candidate.configured:
        raise CommandError(
            f"The credentials of '{name}' cannot be decrypted: their key is missing in MERCURY_ENCRYPTION_KEYS."
        )
    return candidate.config


def _encrypt(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    """Encrypt stored options with the newest key, so that older keys can be removed from the settings."""
    found = secrets.encrypt_all_again(by=BY, dry_run=options["dry_run"])
    would = "Would encrypt" if options["dry_run"] else "Encrypted"
    out.say(f"{would} with the newest key: {', '.join(found.encrypted) or 'none'}.")
    if found.current:
        out.say(f"Already encrypted with it: {', '.join(found.current)}.")
    if found.unreadable:
        out.say(
            f"Not readable with any configured key: {', '.join(found.unreadable)}. Add their key to "
            "MERCURY_ENCRYPTION_KEYS and repeat, or enter their credentials again.",
            tone="bad",
        )
    out.write_document({"encrypted": found.encrypted, "current": found.current, "unreadable": found.unreadable})
    return ExitCode.PARTLY_DONE if found.unreadable else None


def _set_breaker(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    name, mode = _find(options["name"]).config.name, BreakerMode(options["mode"])
    question = f"No email will be sent through {name} until its breaker is set to auto. Continue?"
    if options["dry_run"]:
        out.say(f"Would set the breaker of {name} to {mode.value}.")
        out.write_document({"account": name, "breaker": mode.value})
        return None
    if mode == BreakerMode.OPEN and not out.ask(question):
        return ExitCode.FAILED
    breaker_store.force(name, mode, by=BY, why=options["note"])
    out.say(f"The breaker of {name} is set to {mode.value}.")
    if mode != BreakerMode.OPEN:
        _warn_if_unused(out, name)
    out.write_document({"account": name, "breaker": mode.value})
    return None


def _open(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    """Let email go to an account again that its provider said is out of quota."""
    candidate = _find(options["name"])
    name, is_out = candidate.config.name, candidate.breaker.is_out_of_quota(database_clock.now())
    if not options["dry_run"]:
        is_out = breaker_store.open_account(name, by=BY, why=options["note"])
    would = "Would open" if options["dry_run"] else "Opened"
    out.say(f"{would} {name}." if is_out else f"{name} is not out of quota at its provider: nothing to open.")
    out.write_document({"account": name, "changed": is_out})
    return None


def _set_quota(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    """Change the quotas that are given, and show what they are."""
    account = Account.objects.get(pk=_find(options["name"]).id)
    given = {name: options[name] for name in QUOTA_OPTIONS if options[name] is not None}
    try:
        values = read_texts(given)
        rules = build_rules({name: getattr(account, name) for name in QUOTA_OPTIONS} | values)
    except (ValueError, QuotaInvalid) as error:
        raise CommandError(str(error), returncode=ExitCode.USAGE_ERROR) from None
    if given and not options["dry_run"]:
        registration.update(account, quota=values, by=BY, why=options["note"])
    quotas = list_values(rules)
    would = "Would be the quotas" if given and options["dry_run"] else "Quotas"
    out.say(f"{would} of {account.name}:")
    for name, value in quotas.items():
        out.say(f"  {name.replace('_', ' '):16} {'none' if value in (None, '') else value}")
    for warning in rules.find_warnings():
        out.say(warning, tone="waiting")
    out.write_document({"account": account.name, **quotas, "warnings": list(rules.find_warnings())})
    return None


def _set_enabled(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    candidate, enabled = _find(options["name"]), options["word"] == "enable"
    name = candidate.config.name
    account = Account.objects.get(pk=candidate.id)
    if options["dry_run"]:
        if enabled and not account.enabled:
            registration.check_enabling(account)
        out.say(f"Would {options['word']} {name}.")
        out.write_document({"account": name, "enabled": enabled})
        return None
    if not enabled and not out.ask(f"{name} will receive no more email. Continue?"):
        return ExitCode.FAILED
    changed = account.enabled != enabled
    registration.update(account, enabled=enabled, by=BY, why=options["note"])
    out.say(f"{name} is {'enabled' if enabled else 'disabled'}{'' if changed else ' already'}.")
    if enabled:
        _warn_if_stopped(out, candidate)
    out.write_document({"account": name, "enabled": enabled, "changed": changed})
    return None


def _warn_if_stopped(out: commands.Output, candidate: Candidate) -> None:
    """Explain why an enabled account still accepts no email."""
    name = candidate.config.name
    if not candidate.configured:
        out.say(f"The credentials of {name} cannot be read, so it is not used.", tone="bad")
    if candidate.breaker.mode == BreakerMode.OPEN:
        out.say(
            f"It accepts no email: its breaker is forced open. To change it: manage.py providers breaker {name} auto",
            tone="bad",
        )
    _warn_if_unused(out, name)


def _warn_if_unused(out: commands.Output, name: str) -> None:
    if why := registry.explain_unused(Account.objects.get(name=name)):
        out.say(f"It accepts no email: {why}.", tone="waiting")


def _find(name: str) -> Candidate:
    candidates = registry.load_candidates()
    for candidate in candidates:
        if candidate.config.name == name:
            return candidate
    if name in registry.list_unstored():
        raise CommandError(
            f"'{name}' is known only in this terminal. Store it first: manage.py providers add {name}",
            returncode=ExitCode.USAGE_ERROR,
        )
    known = ", ".join(candidate.config.name for candidate in candidates) or "none"
    raise CommandError(f"No account '{name}'. Known: {known}.", returncode=ExitCode.USAGE_ERROR)
