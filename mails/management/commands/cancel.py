"""`manage.py cancel`: cancel emails."""

from mails.management.action_commands import ActionCommand
from mails.states import Action


class Command(ActionCommand):
    """Cancel emails."""

    help = (
        "Cancel emails, so that they are not sent. A request in progress cannot be stopped: if the provider accepts the "
        "email, it is sent; otherwise it is cancelled when the request ends."
    )
    action = Action.CANCEL
