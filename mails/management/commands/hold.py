"""`manage.py hold`: keep emails back."""

from mails.management.action_commands import ActionCommand
from mails.states import Action


class Command(ActionCommand):
    """Hold emails."""

    help = "Hold emails: each is kept back until it is released. Use `pause` to stop a queue or all sending."
    action = Action.HOLD
