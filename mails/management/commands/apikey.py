"""`manage.py apikey`: the keys applications sign in with."""

import argparse
from datetime import timedelta
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone

from mails.access import api_keys
from mails.models import ApiKey
from mercury.lib import commands
from mercury.lib.commands import Exit

COLUMNS = {
    "name": "Name",
    "prefix": "Prefix",
    "state": "State",
    "scopes": "Scopes",
    "senders": "Senders",
    "rate": "Rate",
    "last_used_at": "Last used",
    "expires_at": "Expires",
}
TONES = {"usable": "ok", "revoked": "bad", "expired": "waiting"}


class Command(commands.MercuryCommand):
    """Make, list, revoke and rotate API keys."""

    help = "API keys: a key's text is shown once, when it is made; afterwards its prefix names it."
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the four words and their options."""
        words = parser.add_subparsers(dest="word", required=True, metavar="WORD")

        create = commands.subcommand(words, "create", "Make a key and show it, once.", makes_changes=True)
        create.add_argument("name", type=_name, help="The application that will use it.")
        create.add_argument(
            "--scope",
            action="append",
            choices=api_keys.SCOPES,
            metavar="SCOPE",
            help=f"What it may do, repeatable: {', '.join(api_keys.SCOPES)}. Default: mails:send and mails:read.",
        )
        create.add_argument(
            "--sender",
            type=_sender,
            action="append",
            default=[],
            help="An address it may send as, repeatable; @example.com is a whole domain, * any. Default: none.",
        )
        create.add_argument(
            "--rate", type=_rate, metavar="600/m", help="How many mails it may hand in. Default: no limit."
        )
        create.add_argument(
            "--expires", type=commands.duration, metavar="90d", help="How long it is valid. Default: for ever."
        )

        commands.subcommand(words, "list", "Show all keys, by their prefixes.")

        revoke = commands.subcommand(words, "revoke", "End a key at once and for good.", makes_changes=True)
        revoke.add_argument("prefix", help="The eight characters after mk_, as `list` shows them.")

        rotate = commands.subcommand(words, "rotate", "Give a key a new text, and show it, once.", makes_changes=True)
        rotate.add_argument("prefix", help="The eight characters after mk_, as `list` shows them.")
        rotate.add_argument(
            "--overlap",
            type=commands.duration,
            default=timedelta(days=1),
            metavar="1d",
            help="How long the old text works on.",
        )

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Do what the word says."""
        words = {"create": _create, "list": _list, "revoke": _revoke, "rotate": _rotate}
        return words[options["word"]](out, options)


def _create(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    name, senders = options["name"], options["sender"]
    scopes = options["scope"] or [api_keys.Scope.MAILS_SEND.value, api_keys.Scope.MAILS_READ.value]
    expires_at = timezone.now() + options["expires"] if options["expires"] else None
    if options["dry_run"]:
        limit = f", at most {options['rate']}" if options["rate"] else ""
        sending = f"sending as {', '.join(senders) or 'nobody'}{limit}"
        out.say(f"Would make the key '{name}' with {', '.join(scopes)}, {sending}.")
        rate = options["rate"] or None
        out.document({"name": name, "scopes": scopes, "senders": senders, "rate": rate, "expires_at": expires_at})
        return None
    key, text = api_keys.create(name, scopes=scopes, senders=senders, rate=options["rate"] or "", expires_at=expires_at)
    _show(out, key, text)
    if not senders and api_keys.Scope.MAILS_SEND in scopes:
        out.say(
            "It may not send yet, for it has no --sender: give it one in the admin, or make another.", tone="waiting"
        )
    return None


def _list(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    out.rows(
        (_as_row(key) for key in ApiKey.objects.all()),
        columns=COLUMNS,
        tones=TONES,
        empty="No key yet. Make one: manage.py apikey create NAME --sender ADDRESS",
    )
    return None


def _revoke(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    key = _found(options["prefix"])
    if options["dry_run"]:
        out.say(f"Would revoke '{key.name}' ({key.prefix}).")
        out.document({**_as_row(key), "state": "revoked"})
        return None
    if not out.ask(f"Revoke '{key.name}' ({key.prefix})? Whoever uses it is refused from then on."):
        return Exit.FAILED
    changed = api_keys.revoke(key)
    out.say(f"'{key.name}' ({key.prefix}) is revoked." if changed else f"'{key.name}' had been revoked before.")
    out.document(_as_row(key))
    return None


def _rotate(out: commands.Output, options: dict[str, Any]) -> Exit | None:
    key = _found(options["prefix"])
    if why := api_keys.why_not_rotated(key):
        raise CommandError(why)
    if options["dry_run"]:
        out.say(f"Would give '{key.name}' ({key.prefix}) a new text.")
        out.document(_as_row(key))
        return None
    try:
        key, text = api_keys.rotate(key, options["overlap"])
    except api_keys.KeyNotUsable as error:
        raise CommandError(str(error)) from error
    _show(out, key, text)
    out.say(f"The old text works until {key.old_expires_at:%Y-%m-%d %H:%M} UTC.")
    return None


def _show(out: commands.Output, key: ApiKey, text: str) -> None:
    out.say(text)
    out.say(f"This is the key '{key.name}'. It is shown this once.")
    out.document({**_as_row(key), "key": text})


def _name(text: str) -> str:
    try:
        return api_keys.written_name(commands.filled(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _sender(text: str) -> str:
    try:
        return api_keys.written_sender(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rate(text: str) -> str:
    try:
        return api_keys.written_rate(commands.filled(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _found(prefix: str) -> ApiKey:
    key = ApiKey.objects.filter(prefix=prefix.removeprefix("mk_")[:8]).first()
    if key is None:
        raise CommandError(f"No key begins with '{prefix}'. `manage.py apikey list` shows them.")
    return key


def _as_row(key: ApiKey) -> dict[str, object]:
    now = timezone.now()
    expired = key.expires_at is not None and key.expires_at <= now
    return {
        "id": key.pk,
        "name": key.name,
        "prefix": key.prefix,
        "state": "revoked" if key.revoked_at else "expired" if expired else "usable",
        "scopes": key.scopes,
        "senders": key.senders,
        "rate": key.rate or None,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "expires_at": key.expires_at,
    }
