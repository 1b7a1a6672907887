"""`manage.py hold`: keep mails back, or with --all everything."""

from typing import Any

from django.core.management.base import CommandParser

from mails.actions import apply
from mails.management import steering
from mails.management.steering import SteeringCommand
from mails.states import Action, Actor
from mercury.lib import commands
from mercury.lib.commands import Exit


class Command(SteeringCommand):
    """Hold mails, or the house."""

    help = (
        "Hold mails until they are released. With --all the whole house: mails are taken as ever, and wait; "
        "nothing is handed to a provider, on any machine, until `release --all`."
    )
    action = Action.HOLD

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        steering.add_house(parser, "Pause all sending.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Hold what was named."""
        if not steering.is_for_the_house(options):
            return super().run(out, options)
        note = self.order(options).note
        out.say(
            "Once sending is paused, nothing is handed to a provider. New emails are accepted, and wait. Calls in progress end."
        )
        held = not options["dry_run"] and out.ask("Pause all sending?")
        changed = held and apply.hold_house(by=Actor.COMMAND, note=note)
        if held:
            words = "Sending is paused." if changed else "Sending was paused before."
            out.say(f"{words} Release it: manage.py release --all", tone="waiting")
        out.document({"house": "held" if held else "open", "changed": changed})
        return None if held or options["dry_run"] else Exit.FAILED
