"""Small builders: zeus writes, hera receives, the accounts are olympus and hades."""

from typing import Any

from django.core.mail import EmailMessage

from providers.accounts.config import AccountConfig
from providers.outcomes import Outcome
from providers.tests.support.local_provider import MAILGUN_DOMAIN, MAILGUN_KEY, SENDGRID_KEY, LocalProvider
from providers.tests.support.scripted_http import ScriptedHttp
from providers.transports.sender import Sender

MAIL_ID = "01890c5e-0000-7000-8000-000000000001"


def mail(**changes: Any) -> EmailMessage:
    """A mail from zeus to hera as `mails.message.mime` builds them."""
    message = EmailMessage(
        **{
            "subject": "You made my day",
            "body": "Hi",
            "from_email": "zeus@olimpus.com",
            "to": ["hera@olimpus.com"],
            "headers": {"Message-ID": f"<{MAIL_ID}@olimpus.com>", "X-Mercury-ID": MAIL_ID},
            **changes,
        }
    )
    message.metadata = {"mercury_id": MAIL_ID}  # type: ignore[attr-defined]
    return message


def sendgrid(provider: LocalProvider | ScriptedHttp, *, api_key: str = SENDGRID_KEY, **changes: Any) -> AccountConfig:
    options = {"api_key": api_key, "api_url": changes.pop("api_url", provider.sendgrid_url)}
    return AccountConfig(name="olympus", kind="sendgrid", options=options, **changes)


def mailgun(provider: LocalProvider, *, api_key: str = MAILGUN_KEY, **changes: Any) -> AccountConfig:
    options = {
        "api_key": api_key,
        "api_url": changes.pop("api_url", provider.mailgun_url),
        "sender_domain": changes.pop("sender_domain", MAILGUN_DOMAIN),
    }
    return AccountConfig(name="hades", kind="mailgun", options=options, **changes)


def smtp(port: int, **options: Any) -> AccountConfig:
    return named("hades", port, **options)


def named(name: str, port: int, **options: Any) -> AccountConfig:
    """An SMTP account of that name."""
    defaults = {"host": "127.0.0.1", "port": port, "username": "", "password": "", "security": "none"}
    return AccountConfig(name=name, kind="smtp", options=defaults | options)


async def send(account: AccountConfig, message: EmailMessage | None = None, *, deadline: float = 5.0) -> Outcome:
    """One send by a sender of its own."""
    async with Sender(deadline=deadline, connect_timeout=min(1.0, deadline), concurrency=8) as sender:
        return await sender.send(account, message or mail())
