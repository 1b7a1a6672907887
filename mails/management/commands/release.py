"""`manage.py release`: release held emails."""

from mails.management.action_commands import ActionCommand
from mails.states import Action


class Command(ActionCommand):
    """Release emails."""

    help = (
        "Release held emails: they become due at once. Use `resolve` for emails whose outcome is unknown, and `resume` "
        "for a paused queue or for all sending."
    )
    action = Action.RELEASE
