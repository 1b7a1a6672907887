"""The rules of emails that a test email keeps too; `providers`, which knows nothing of emails, asks them."""

from mails import pauses
from mails.access import grants
from mails.intake import submission
from mails.intake.submission import InvalidSubmission
from mails.message import addresses
from mails.queues import QueueName
from providers.accounts import test_send
from providers.accounts.test_send import DeliveryTest


def apply() -> None:
    """Make tests keep the rules. Done once a process."""
    test_send.rules[:] = [refuse_paused, refuse_addresses, refuse_sender]


def refuse_paused(wanted: DeliveryTest) -> str:
    """While sending is paused nothing is handed to a provider, and a test is short text."""
    active = pauses.load_active()
    if pause := active.all_sending:
        return f"Sending is paused since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}: resume it first."
    if pause := active.get(QueueName.TEXT):
        since = f"{pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}"
        return f"Queue {QueueName.TEXT} is paused since {since}: resume it first."
    return ""


def refuse_addresses(wanted: DeliveryTest) -> str:
    """The addresses are such as an email may have."""
    data = {"sender": wanted.sender, "recipient": wanted.recipient, "subject": "Test", "content": "Test"}
    try:
        submission.parse(data)
    except InvalidSubmission as invalid:
        return " ".join(f"{error.field.capitalize()}: {error.detail}" for error in invalid.errors)
    return ""


def refuse_sender(wanted: DeliveryTest) -> str:
    """A person sends as the addresses that they may use; a sandbox delivers to nobody, so there it does not matter."""
    if wanted.person is None or wanted.only_sandboxes:
        return ""
    sender = addresses.extract_address(wanted.sender)
    if grants.find_uncovered_senders(wanted.person, [sender]):
        return f"You may not send as {sender}. A superuser allows more: Users in the admin, Sender permissions."
    return ""
