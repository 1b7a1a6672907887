"""`manage.py pause`: stop sending from one queue, or all sending."""

from typing import Any

from django.core.management.base import CommandParser

from mails import pauses
from mails.actions import pausing
from mails.management import action_commands, pause_options
from mails.states import Actor
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output


class Command(commands.MercuryCommand):
    """Pause a queue, or all sending."""

    help = (
        "Pause one queue, or all sending. Emails are accepted and queued as usual, but not sent, on any machine, until "
        "`resume`. `queues` shows what is paused."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        pause_options.add_scope(parser)
        parser.add_argument("--note", default="", metavar="WHY", help="Reason; shown together with the pause.")

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Say what follows, ask, and pause."""
        queue, note = pause_options.read_scope(options, "pause"), action_commands.read_note(options)
        name = pause_options.name_scope(queue)
        pause = pauses.load_active().get(queue)
        if pause is not None:
            out.say(f"{name} is already paused, {pauses.describe_start(pause)}. {pause.note}".rstrip())
            pause_options.show_document(out, queue, paused=True, changed=False)
            return None
        what = f"sending from queue {queue}" if queue else "all sending"
        out.say(f"This stops {what}. New emails are still accepted and stored. Requests in progress will finish.")
        out.say(pausing.describe_pause_effect(queue))
        if options["dry_run"] or not out.ask(f"Pause {f'queue {queue}' if queue else 'all sending'}?"):
            pause_options.show_document(out, queue, paused=False, changed=False)
            return None if options["dry_run"] else ExitCode.FAILED
        paused = pausing.pause_sending(queue, by=Actor.COMMAND, note=note)
        words = f"{name} is paused." if paused else f"{name} was just paused by someone else."
        out.say(f"{words} To resume: manage.py resume {pause_options.name_option(queue)}", tone="waiting")
        pause_options.show_document(out, queue, paused=True, changed=paused)
        return None
