"""The rules of submission that a test email follows too; `providers`, which does not know `mails`, calls them."""

from typing import assert_never

from mails import pauses
from mails.access import grants
from mails.intake import submission
from mails.intake.submission import InvalidSubmission, ValidSubmission
from mails.message import addresses
from mails.queues import QueueName
from providers.accounts import delivery_test
from providers.accounts.delivery_test import DeliveryTest


def register_rules() -> None:
    """Make test emails follow the rules. Called once per process."""
    delivery_test.rules[:] = [refuse_paused, refuse_addresses, refuse_sender]


def refuse_paused(wanted: DeliveryTest) -> str:
    """Return why a test cannot be sent while sending, or the queue of short text, is paused; empty if it can."""
    active = pauses.load_active()
    if pause := active.all_sending:
        return f"Sending is paused since {pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}: resume it first."
    if pause := active.get(QueueName.TEXT):
        since = f"{pause.paused_at:%Y-%m-%d %H:%M} UTC by {pause.who}"
        return f"Queue {QueueName.TEXT} is paused since {since}: resume it first."
    return ""


def refuse_addresses(wanted: DeliveryTest) -> str:
    """Return what is wrong with the addresses; empty if a submission may have them."""
    data = {"sender": wanted.sender, "recipient": wanted.recipient, "subject": "Test", "content": "Test"}
    match submission.judge(data):
        case ValidSubmission(message=message):
            if listed := ", ".join(message.list_utf8_addresses()):
                return f"{listed}: a test goes to and from addresses with ASCII letters before the @."
            return ""
        case InvalidSubmission(errors=errors):
            return " ".join(f"{error.field.capitalize()}: {error.detail}" for error in errors)
        case never:
            assert_never(never)


def refuse_sender(wanted: DeliveryTest) -> str:
    """Return why the person may not send as this address; empty for a sandbox, which delivers to nobody."""
    if wanted.person is None or wanted.only_sandboxes:
        return ""
    sender = addresses.extract_address(wanted.sender)
    if grants.find_uncovered_senders(wanted.person, [sender]):
        return f"You may not send as {sender}. A superuser allows more: Users in the admin, Sender permissions."
    return ""
