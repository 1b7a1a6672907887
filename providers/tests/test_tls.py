"""A server that a private authority vouches for, over each transport."""

import ssl

import pytest

from mercury.lib.runtime import event_loop
from providers.outcomes import Accepted
from providers.tests.support import accounts, certificates, tables
from providers.tests.support.local_provider import LocalProvider
from providers.tests.support.scripted_smtp import ScriptedServer
from providers.transports.sender import Sender

LOGIN = {"username": "zeus", "password": "thunderbolt"}


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


def test_starttls_log_in_and_a_kept_connection_work_with_a_private_authority(tmp_path):
    ca, context = certificates.with_authority(tmp_path)

    async def scenario():
        async with (
            ScriptedServer(tls=context) as server,
            Sender(deadline=5, connect_timeout=1, concurrency=1) as sender,
        ):
            account = accounts.smtp(server.port, security="starttls", ca=ca, **LOGIN)
            return [await sender.send(account, accounts.mail()) for _ in range(2)], server

    outcomes, server = event_loop.run(scenario())

    assert [type(outcome) for outcome in outcomes] == [Accepted, Accepted]
    assert server.connections == 1
    assert server.verbs()[:4] == ["EHLO", "STARTTLS", "EHLO", "AUTH"]


@pytest.mark.parametrize("between", [b"250 surplus\r\n", b"421 closing\r\n"])
def test_surplus_replies_are_found_behind_tls_too(tmp_path, between):
    ca, context = certificates.with_authority(tmp_path)

    async def scenario():
        async with (
            ScriptedServer(tls=context) as server,
            Sender(deadline=5, connect_timeout=1, concurrency=1) as sender,
        ):
            account = accounts.smtp(server.port, security="starttls", ca=ca)
            first = await sender.send(account, accounts.mail())
            server.say(between)
            return first, await sender.send(account, accounts.mail()), server

    first, second, server = event_loop.run(scenario())

    assert (type(first), type(second), server.connections) == (Accepted, Accepted, 2)


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_private_authority_needs_no_key_identifier(tmp_path, monkeypatch, is_strict):
    ca, context = certificates.with_authority(tmp_path, has_identifiers=False)
    create = ssl.create_default_context

    def create_as_of_python_3_13(*, cadata):
        created = create(cadata=cadata)
        created.verify_flags |= ssl.VERIFY_X509_STRICT * is_strict
        return created

    monkeypatch.setattr(ssl, "create_default_context", create_as_of_python_3_13)

    async def scenario():
        async with (
            ScriptedServer(tls=context) as server,
            Sender(deadline=5, connect_timeout=1, concurrency=1) as sender,
        ):
            return await sender.send(accounts.smtp(server.port, security="starttls", ca=ca), accounts.mail())

    assert isinstance(event_loop.run(scenario()), Accepted)


def test_without_its_authority_the_server_is_not_believed(tmp_path):
    _, context = certificates.with_authority(tmp_path)

    async def scenario():
        async with ScriptedServer(tls=context) as server:
            return await accounts.send(accounts.smtp(server.port, security="starttls")), server

    outcome, server = event_loop.run(scenario())

    assert tables.describe(outcome) == "Refused provider `tls`"
    assert server.verbs() == ["EHLO", "STARTTLS"]


@pytest.mark.parametrize("known", [True, False])
def test_an_api_with_a_private_authority(tmp_path, known):
    ca, context = certificates.with_authority(tmp_path)

    async def scenario():
        async with LocalProvider(tls=context) as provider:
            url = provider.sendgrid_url.replace("http://", "https://")
            account = accounts.sendgrid(provider, api_url=url)
            if known:
                account.options["ca"] = ca
            return await accounts.send(account)

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, Accepted) is known


@pytest.mark.parametrize("options", [{"host": "mail.olimpus.invalid", **LOGIN}])
def test_a_password_is_not_sent_without_tls_to_a_host_that_is_not_listed(options):
    outcome = event_loop.run(accounts.send(accounts.smtp(25, **options)))

    assert tables.describe(outcome) == "Not attempted account `destination-refused`"
    assert "without TLS" in outcome.reason


def test_a_key_is_not_sent_without_tls_to_a_host_that_is_not_listed():
    async def scenario():
        async with LocalProvider() as provider:
            return await accounts.send(accounts.sendgrid(provider, api_url="http://api.olimpus.invalid/v3/"))

    outcome = event_loop.run(scenario())

    assert tables.describe(outcome) == "Not attempted account `destination-refused`"
    assert "without TLS" in outcome.reason
