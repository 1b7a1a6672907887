"""`manage.py cancel`: take mails back."""

from mails.management.steering import SteeringCommand
from mails.states import Action


class Command(SteeringCommand):
    """Cancel mails."""

    help = (
        "Cancel mails: they are not sent any more. A call under way cannot be stopped: unless the provider takes the "
        "mail, it is cancelled when the call is closed."
    )
    action = Action.CANCEL
