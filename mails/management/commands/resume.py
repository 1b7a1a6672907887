"""`manage.py resume`: resume a paused queue, or all sending."""

from typing import Any

from django.core.management.base import CommandParser

from mails import pauses
from mails.actions import pausing
from mails.management import pause_options
from mails.states import Actor
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output


class Command(commands.MercuryCommand):
    """Resume a queue, or all sending."""

    help = (
        "Resume one queue, or all sending, after `pause` or MERCURY_START_PAUSED. --all does not resume queues that were "
        "paused by name, and does not release held emails."
    )
    makes_changes = True

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        pause_options.add_scope(parser)

    def run(self, out: Output, options: dict[str, Any]) -> ExitCode | None:
        """Say what follows, ask, and resume."""
        queue = pause_options.read_scope(options, "resume")
        name = pause_options.name_scope(queue)
        pause = pauses.load_active().get(queue)
        if pause is None:
            out.say(f"{name} is not paused.")
            pause_options.show_document(out, queue, paused=False, changed=False)
            return None
        out.say(f"Paused {pauses.describe_start(pause)}. {pause.note}".rstrip())
        out.say(pausing.describe_resume_effect(queue))
        if options["dry_run"] or not out.ask(f"Resume {f'queue {queue}' if queue else 'all sending'}?"):
            pause_options.show_document(out, queue, paused=True, changed=False)
            return None if options["dry_run"] else ExitCode.FAILED
        resumed = pausing.resume_sending(queue, by=Actor.COMMAND)
        out.say(f"{name} is resumed." if resumed else f"{name} was just resumed by someone else.", tone="ok")
        pause_options.show_document(out, queue, paused=False, changed=resumed)
        return None
