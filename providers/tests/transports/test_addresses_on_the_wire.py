"""Addresses that look odd and are right reach each transport as they are: quotes, blanks, private domains."""

import email
import email.policy

import pytest

from mercury.lib.runtime import event_loop
from providers.accounts.config import AccountConfig
from providers.outcomes import Accepted
from providers.sandbox import mailbox
from providers.tests.support import accounts
from providers.tests.support.builders import sandbox_account
from providers.tests.support.local_provider import LocalProvider
from providers.tests.transports.test_smtp import Server

SENDER = '"zeus <the great>"@olimpus.com'
ODD = [
    '"john doe"@olimpus.com',
    '"a, b@c"@olimpus.com',
    "hera@printer.local",
    "iris@localhost",
    '"\\"x\\\\"@olimpus.com',
]


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


class Listener(Server):
    """A server that remembers each address that a command named."""

    def __init__(self) -> None:
        super().__init__()
        self.named: list[str] = []

    async def handle_MAIL(self, server, session, envelope, address, options):  # noqa: N802
        self.named.append(address)
        return await super().handle_MAIL(server, session, envelope, address, options)

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802
        self.named.append(address)
        return await super().handle_RCPT(server, session, envelope, address, options)


def read(content: bytes):
    """Sender and recipients as a mail program reads them in the headers."""
    message = email.message_from_bytes(content, policy=email.policy.default)
    return [[address.addr_spec for address in message[name].addresses] for name in ("From", "To")]


@pytest.mark.parametrize("sender", [SENDER, f"Zeus <{SENDER}>"])
def test_smtp_names_them_in_its_commands_and_headers(sender):
    async def scenario():
        async with Listener() as server:
            outcome = await accounts.send(accounts.smtp(server.port), accounts.mail(from_email=sender, to=ODD))
            return outcome, server.named, server.received

    outcome, named, received = event_loop.run(scenario())

    assert isinstance(outcome, Accepted), outcome
    assert not outcome.refused
    assert named == [SENDER, *ODD]
    assert read(received[0]) == [[SENDER], ODD]


@pytest.mark.parametrize("build", [accounts.sendgrid, accounts.mailgun])
def test_http_apis_are_given_them(build):
    async def scenario():
        async with LocalProvider() as provider:
            outcome = await accounts.send(build(provider), accounts.mail(from_email=SENDER, to=ODD))
            return outcome, provider.received

    outcome, received = event_loop.run(scenario())

    assert isinstance(outcome, Accepted), outcome
    assert received[0]["to"] == ODD
    assert received[0]["from"] == SENDER


def test_the_sandbox_keeps_them(db):
    account = sandbox_account("olympus")

    outcome = event_loop.run(
        accounts.send(
            AccountConfig(name="olympus", kind="sandbox", options={}), accounts.mail(from_email=SENDER, to=ODD)
        )
    )

    assert isinstance(outcome, Accepted), outcome
    (kept,) = account.inbox()
    assert read(mailbox.read_source("olympus", kept.key)) == [[SENDER], ODD]
