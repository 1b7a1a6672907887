"""A test mail straight through one account: no mail is stored, no breaker asked, nobody else tried."""

import asyncio
from collections.abc import Sequence
from email.utils import make_msgid

from django.conf import settings
from django.core.mail import EmailMessage

from mercury.lib import event_loop
from providers.account import AccountConfig
from providers.outcomes import Accepted, Fault, Outcome, Refused
from providers.sending import Sender

NOBODY = "somebody@example.com"  # from and to, where a sandbox gets the email and no address was given


def send(config: AccountConfig, *, sender: str, recipient: str) -> Outcome:
    """Call the provider once and return what came of it. Takes up to MERCURY_DEADLINE; opens no transaction."""
    [outcome] = send_all([config], sender=sender, recipient=recipient)
    return outcome


def send_all(configs: Sequence[AccountConfig], *, sender: str, recipient: str) -> list[Outcome]:
    """One mail through each of them, all at the same time, and what came of each. Takes as long as `send`."""
    return event_loop.run(_send([(one, _message(one.name, sender=sender, recipient=recipient)) for one in configs]))


def words(account: str, outcome: Outcome) -> str:
    """What came of it, in a sentence."""
    match outcome:
        case Accepted():
            name = f", under the name {outcome.provider_message_id}" if outcome.provider_message_id else ""
            return f"{account} took it (status {outcome.status_code}{name})."
        case Refused():
            return f"{account} refused it: {Fault(outcome.fault).label}, {outcome.reason_code}: {outcome.reason}"
    return f"Nobody can tell whether {account} took it: {outcome.reason_code}: {outcome.reason}"


async def _send(mails: Sequence[tuple[AccountConfig, EmailMessage]]) -> list[Outcome]:
    deadline, connect_timeout = settings.MERCURY_DEADLINE, settings.MERCURY_CONNECT_TIMEOUT
    async with Sender(
        deadline=deadline.total_seconds(), connect_timeout=connect_timeout.total_seconds(), places=len(mails)
    ) as sending:
        return await asyncio.gather(*(sending.send(config, message) for config, message in mails))


def _message(account: str, *, sender: str, recipient: str) -> EmailMessage:
    return EmailMessage(
        subject="Test mail from Mercury",
        body=f"This mail tests the provider account {account}. If you can read it, the account works.",
        from_email=sender,
        to=[recipient],
        headers={"Message-ID": make_msgid(domain=sender.rpartition("@")[2].strip("> ") or "mercury.invalid")},
    )
