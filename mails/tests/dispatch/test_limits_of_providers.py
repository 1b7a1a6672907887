"""Limits that a provider sets, on real rows and over real sockets: connections, recipients of one message, waits."""

import asyncio
from itertools import chain

import pytest
from django.db import connection

from mails.dispatch.dispatcher import Dispatcher
from mails.models import Attempt
from mails.states import AttemptState, RecipientState, Status
from mails.tests.builders import HERA, IRIS, a_mail, event_names, reloaded
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers.accounts import registration
from providers.models import Breaker, BreakerState
from providers.outcomes import FailureClass
from providers.tests.support.small_smtp_server import SmallSmtpServer

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


def sent_through(*, concurrency=32, **limits):
    """Send all that is due through an SMTP server with these limits, and return the server."""
    options = {"max_connections": limits.pop("max_connections", None)}

    async def scenario():
        async with SmallSmtpServer(**limits) as server:
            await asyncio.to_thread(register, server.port, options)
            await Dispatcher(["text"], concurrency=concurrency).run(until_idle=True)
            return server

    return event_loop.run(scenario())


def register(port, options):
    everything = {"host": "127.0.0.1", "port": port, "security": "none", **options}
    try:
        registration.register("hades", "smtp", everything, by="test")
    finally:
        connection.close()  # of a thread that ends unseen


def breaker():
    return Breaker.objects.get(account__name="hades")


def test_a_server_that_takes_three_connections_gets_all_email_without_an_outage():
    mails = [a_mail(subject=f"mail {number}") for number in range(60)]

    server = sent_through(connections=3)

    assert {reloaded(mail).status for mail in mails} == {Status.DONE}
    assert (len(server.delivered), server.most) == (60, 3)
    assert breaker().state == BreakerState.CLOSED
    assert 1 <= breaker().call_limit <= 4
    refused = Attempt.objects.filter(state=AttemptState.REFUSED)
    assert 0 < refused.count() < 45
    assert set(refused.values_list("failure_class", flat=True)) == {FailureClass.RATE}


def test_a_bound_on_connections_keeps_them_below_what_the_server_refuses():
    for number in range(30):
        a_mail(subject=f"mail {number}")

    server = sent_through(connections=3, max_connections=3)

    assert (len(server.delivered), server.refused) == (30, 0)
    assert breaker().call_limit is None


def test_recipients_beyond_those_of_one_call_get_theirs_in_further_calls():
    everybody = [f"muse{number}@olimpus.com" for number in range(8)]
    mail = a_mail(recipient=everybody)

    server = sent_through(recipients=3)

    assert reloaded(mail).status == Status.DONE
    assert {recipient.state for recipient in mail.recipients.all()} == {RecipientState.ACCEPTED}
    assert sorted(chain.from_iterable(server.delivered)) == everybody
    assert [len(recipients) for recipients in server.delivered] == [3, 3, 2]
    assert breaker().state == BreakerState.CLOSED


def test_full_mailboxes_leave_the_breaker_closed_and_healthy_ones_get_theirs():
    full = [a_mail(recipient=f"full{number}@olimpus.com") for number in range(8)]
    healthy = a_mail(recipient=HERA)

    sent_through(replies={f"full{number}@olimpus.com": "452 4.2.2 Mailbox full" for number in range(8)})

    assert reloaded(healthy).status == Status.DONE
    assert {reloaded(mail).status for mail in full} == {Status.WAITING}
    assert {reloaded(mail).failure_class for mail in full} == {FailureClass.RECIPIENT}
    assert (breaker().state, breaker().window_failures) == (BreakerState.CLOSED, 0)


def test_greylisting_is_waited_for_as_long_as_it_asks_and_the_account_goes_on():
    grey, other = a_mail(recipient=IRIS), a_mail(recipient=HERA)

    sent_through(replies={IRIS: "451 4.7.1 Greylisted, try again in 10 minutes"})

    assert reloaded(other).status == Status.DONE
    assert breaker().limited_until is None
    wait = (reloaded(grey).next_attempt_at - database_clock.now()).total_seconds()
    assert 500 < wait <= 601
    assert event_names(grey)[-2:] == ["FAILURE", "RETRY"]
