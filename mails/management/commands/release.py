"""`manage.py release`: let held emails go on."""

from mails.management.action_commands import ActionCommand
from mails.states import Action


class Command(ActionCommand):
    """Release emails."""

    help = (
        "Release held emails: they are due at once. One whose outcome is unknown must be resolved instead. To let a "
        "paused queue or all sending go on: `resume`."
    )
    action = Action.RELEASE
