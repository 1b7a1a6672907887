"""`manage.py release`: let held mails go on, or with --all the house."""

from typing import Any

from django.core.management.base import CommandParser

from mails import house
from mails.actions import apply
from mails.management import steering
from mails.management.steering import SteeringCommand
from mails.states import Action, Actor
from mercury.lib import commands
from mercury.lib.commands import Exit


class Command(SteeringCommand):
    """Release mails, or the house."""

    help = (
        "Release held mails: they are due at once. With --all the whole house, which `hold --all` or MERCURY_START_PAUSED "
        "holds; mails that are held one by one stay so. One whose outcome is unknown must be settled instead."
    )
    action = Action.RELEASE

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        steering.add_house(parser, "Release the whole house.")

    def run(self, out: commands.Output, options: dict[str, Any]) -> Exit | None:
        """Release what was named."""
        if not steering.is_for_the_house(options):
            return super().run(out, options)
        hold = house.hold()
        if hold is None:
            out.say("Sending is not paused.")
            out.document({"house": "open", "changed": False})
            return None
        out.say(f"Held since {hold.held_at:%Y-%m-%d %H:%M} UTC by {hold.who}. {hold.note}".rstrip())
        out.say(apply.waiting())
        released = not options["dry_run"] and out.ask("Release the whole house?")
        changed = released and apply.release_house(by=Actor.COMMAND)
        if released:
            out.say("Sending is resumed: emails go out.", tone="ok")
        out.document({"house": "open" if released else "held", "changed": changed})
        return None if released or options["dry_run"] else Exit.FAILED
