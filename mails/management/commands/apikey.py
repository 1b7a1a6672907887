"""`manage.py apikey`: the API keys of applications."""

import argparse
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from mails.access import api_keys
from mails.models import ApiKey
from mercury.lib import commands
from mercury.lib.commands import ExitCode

COLUMNS = {
    "name": "Name",
    "prefix": "Prefix",
    "state": "State",
    "scopes": "Scopes",
    "senders": "Senders",
    "rate": "Rate",
    "emails_per_minute": "Emails a minute",
    "recipients_per_day": "Recipients a day",
    "last_used_at": "Last used",
    "expires_at": "Expires",
}
TONES = {"active": "ok", "revoked": "bad", "expired": "waiting"}


class Command(commands.MercuryCommand):
    """Create, list, revoke and rotate API keys."""

    help = "Manage API keys. A key is shown only once, when it is created; afterwards it is identified by its prefix."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")

        create = commands.add_subcommand(words, "create", "Create a key and show it once.", makes_changes=True)
        create.add_argument("name", type=_parse_name, help="Name of the application that will use it.")
        create.add_argument(
            "--scope",
            action="append",
            choices=api_keys.SCOPES,
            metavar="SCOPE",
            help=f"Scope, repeatable: {', '.join(api_keys.SCOPES)}. Default: mails:send and mails:read.",
        )
        create.add_argument(
            "--sender",
            type=_parse_sender,
            action="append",
            default=[],
            metavar="ADDRESS",
            help="Allowed sender, repeatable: an address, @example.com for a domain, or * for any. Default: none.",
        )
        create.add_argument(
            "--rate", type=_parse_rate, metavar="600/m", help="Rate limit for submitted emails. Default: no limit."
        )
        create.add_argument(
            "--emails-per-minute",
            type=_parse_limit,
            metavar="N",
            help="Emails in each minute of the clock, counted exactly over all machines. Default: no limit.",
        )
        create.add_argument(
            "--recipients-per-day",
            type=_parse_limit,
            metavar="N",
            help="Recipients on each day (UTC), counted exactly over all machines. Default: no limit.",
        )
        create.add_argument(
            "--expires",
            type=commands.parse_duration_option,
            metavar="90d",
            help="How long it is valid. Default: never expires.",
        )

        commands.add_subcommand(words, "list", "List all keys with their prefixes.")

        revoke = commands.add_subcommand(words, "revoke", "Revoke a key permanently.", makes_changes=True)
        revoke.add_argument("prefix", help="The eight characters after mk_, as shown by `list`.")

        rotate = commands.add_subcommand(
            words, "rotate", "Replace a key with a new one and show it once.", makes_changes=True
        )
        rotate.add_argument("prefix", help="The eight characters after mk_, as shown by `list`.")
        rotate.add_argument(
            "--overlap",
            type=commands.parse_duration_option,
            default=timedelta(days=1),
            metavar="1d",
            help="How long the old key stays valid (default: 1d).",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
        """Run the subcommand."""
        words = {"create": _create, "list": _list, "revoke": _revoke, "rotate": _rotate}
        return words[options["word"]](out, options)


def _create(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    name, senders = options["name"], options["sender"]
    scopes = options["scope"] or [api_keys.Scope.MAILS_SEND.value, api_keys.Scope.MAILS_READ.value]
    limits = {limit: options[limit] for limit in ("emails_per_minute", "recipients_per_day")}
    expires_at = timezone.now() + options["expires"] if options["expires"] else None
    if options["dry_run"]:
        limit = f"; rate limit: {options['rate']}" if options["rate"] else ""
        limit += "".join(f"; {name.replace('_', ' ')}: {most:,}" for name, most in limits.items() if most)
        sending = f"allowed senders: {', '.join(senders) or 'none'}{limit}"
        out.say(f"Would create the key '{name}' with {', '.join(scopes)}; {sending}.")
        rate = options["rate"] or None
        shown = {"name": name, "scopes": scopes, "senders": senders, "rate": rate, **limits, "expires_at": expires_at}
        out.write_document(shown)
        return None
    key, text = api_keys.create(
        name, scopes=scopes, senders=senders, rate=options["rate"] or "", **limits, expires_at=expires_at
    )
    _show(out, key, text)
    if not senders and api_keys.Scope.MAILS_SEND in scopes:
        out.say(
            "It cannot send yet: it has no allowed sender. Add one in the admin, or create another key with --sender.",
            tone="waiting",
        )
    return None


def _list(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    out.write_rows(
        (_as_row(key) for key in ApiKey.objects.all()),
        columns=COLUMNS,
        tones=TONES,
        empty="No keys yet. Create one: manage.py apikey create NAME --sender ADDRESS",
    )
    return None


def _revoke(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    key = _find(options["prefix"])
    if options["dry_run"]:
        out.say(f"Would revoke '{key.name}' ({key.prefix}).")
        out.write_document({**_as_row(key), "state": "revoked"})
        return None
    if not out.ask(f"Revoke '{key.name}' ({key.prefix})? Requests using it will be rejected."):
        return ExitCode.FAILED
    changed = api_keys.revoke(key)
    out.say(f"'{key.name}' ({key.prefix}) is revoked." if changed else f"'{key.name}' was already revoked.")
    out.write_document(_as_row(key))
    return None


def _rotate(out: commands.Output, options: dict[str, Any]) -> ExitCode | None:
    key = _find(options["prefix"])
    if why := api_keys.explain_not_rotatable(key):
        raise CommandError(why)
    if options["dry_run"]:
        out.say(f"Would rotate '{key.name}' ({key.prefix}).")
        out.write_document(_as_row(key))
        return None
    try:
        key, text = api_keys.rotate(key, options["overlap"])
    except api_keys.KeyNotUsable as error:
        raise CommandError(str(error)) from error
    _show(out, key, text)
    out.say(f"The old key stays valid until {key.old_expires_at:%Y-%m-%d %H:%M} UTC.")
    return None


def _show(out: commands.Output, key: ApiKey, text: str) -> None:
    out.say(text)
    out.say(f"This is the API key '{key.name}'. Copy it now; it is shown only once.")
    out.write_document({**_as_row(key), "key": text})


def _parse_name(text: str) -> str:
    try:
        return api_keys.normalize_name(commands.parse_text_option(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parse_sender(text: str) -> str:
    try:
        return api_keys.normalize_sender(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parse_rate(text: str) -> str:
    try:
        return api_keys.normalize_rate(commands.parse_text_option(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _parse_limit(text: str) -> int:
    limit = commands.parse_integer_option(0, api_keys.MAX_LIMIT)(text)
    try:
        return api_keys.check_limit(limit) or limit
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _find(prefix: str) -> ApiKey:
    key = ApiKey.objects.filter(prefix=prefix.removeprefix("mk_")[:8]).first()
    if key is None:
        raise CommandError(f"No key with prefix '{prefix}'. List them with: manage.py apikey list")
    return key


def _as_row(key: ApiKey) -> dict[str, object]:
    now = timezone.now()
    expired = key.expires_at is not None and key.expires_at <= now
    return {
        "id": key.pk,
        "name": key.name,
        "prefix": key.prefix,
        "state": "revoked" if key.revoked_at else "expired" if expired else "active",
        "scopes": key.scopes,
        "senders": key.senders,
        "rate": key.rate or None,
        "emails_per_minute": key.emails_per_minute,
        "recipients_per_day": key.recipients_per_day,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
    }
