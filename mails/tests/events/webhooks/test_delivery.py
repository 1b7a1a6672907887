"""Every event of a key's emails reaches its webhooks at least once, and in order within one email."""

import asyncio
import datetime as dt
import json

import pytest
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from mails.access import api_keys
from mails.events.webhooks import deliveries, fan_out, operations, sender
from mails.events.webhooks.sender import Sender
from mails.models import Event, Webhook, WebhookDelivery
from mails.tests.builders import a_mail
from mails.tests.events.webhooks.support import (
    OK,
    Received,
    Receiver,
    a_client,
    a_webhook,
    deliver,
    fan_out_all,
    in_order,
    make_due,
    numbers,
    reply,
)
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop

pytestmark = pytest.mark.django_db(transaction=True)


def statuses(webhook: Webhook) -> list[str]:
    return list(webhook.deliveries.order_by("pk").values_list("status", flat=True))


# Fan-out


def test_a_webhook_gets_the_events_of_its_own_key_from_its_creation_on():
    receiver, zeus, hades = Receiver(), a_client(), a_client("hades")
    a_mail(zeus)
    a_webhook(zeus, receiver.url())
    a_mail(hades)
    mail = a_mail(zeus)

    received = deliver(receiver)

    assert sorted(request.number for request in received) == numbers(mail)
    assert deliver(receiver) == []


def test_a_webhook_gets_only_the_events_that_it_has_chosen():
    receiver, zeus = Receiver(), a_client()
    webhook = a_webhook(zeus, receiver.url("/some"), events=["ACCEPTED", "DONE"])
    a_webhook(zeus, receiver.url("/all"))
    mail = a_mail(zeus)

    deliver(receiver)

    assert [request.event for request in receiver.at("/some")] == ["ACCEPTED"]
    assert len(receiver.at("/all")) == len(numbers(mail)) > 1
    assert Webhook.objects.get(pk=webhook.pk).position == max(numbers(mail))


def test_nothing_is_written_where_no_webhook_is(django_assert_num_queries):
    a_mail(a_client())

    with django_assert_num_queries(1):
        assert not fan_out.run_pass("a").has_webhooks


def test_a_fan_out_that_dies_adds_nothing_and_its_repetition_nothing_twice(monkeypatch):
    zeus = a_client()
    webhook = a_webhook(zeus, "http://127.0.0.1:1/")
    mail = a_mail(zeus)
    insert = fan_out.insert

    def die(*arguments, **more):
        insert(*arguments, **more)
        raise RuntimeError("killed")

    monkeypatch.setattr(fan_out, "insert", die)
    with pytest.raises(RuntimeError):
        fan_out.run_pass("a")
    assert not WebhookDelivery.objects.exists()

    monkeypatch.setattr(fan_out, "insert", insert)
    fan_out_all()
    Webhook.objects.update(position=webhook.position)
    fan_out_all()

    assert list(WebhookDelivery.objects.order_by("pk").values_list("event_id", flat=True)) == numbers(mail)


def test_webhooks_that_are_equally_far_share_one_group(django_assert_num_queries):
    clients = [a_client(f"client-{number}") for number in range(3)]
    for client in clients:
        a_webhook(client, "http://127.0.0.1:1/")
    mails = [a_mail(client) for client in clients]
    fan_out.run_pass("a")
    fan_out_all()
    inserted = WebhookDelivery.objects.count()
    last = max(numbers(*mails))

    assert inserted == len(numbers(*mails))
    assert set(Webhook.objects.values_list("position", flat=True)) == {last}


def test_events_of_the_time_while_it_was_disabled_are_delivered_once_it_is_enabled(monkeypatch):
    monkeypatch.setattr(fan_out, "GROUP", 2)
    receiver, zeus, hades = Receiver(), a_client(), a_client("hades")
    webhook, other = a_webhook(zeus, receiver.url("/zeus")), a_webhook(hades, receiver.url("/hades"))
    first = a_mail(zeus)
    fan_out_all()
    operations.disable(webhook, by="user:zeus")
    second, third = a_mail(zeus), a_mail(hades)

    deliver(receiver)
    assert receiver.at("/zeus") == []
    assert len(receiver.at("/hades")) == len(numbers(third))

    operations.enable(webhook, by="user:zeus")
    deliver(receiver)

    assert sorted(request.number for request in receiver.at("/zeus")) == numbers(first, second)
    assert in_order(receiver.at("/zeus"))
    webhook.refresh_from_db()
    other.refresh_from_db()
    assert webhook.position == other.position


def test_a_webhook_of_a_revoked_key_gets_nothing():
    receiver, zeus = Receiver(), a_client()
    a_webhook(zeus, receiver.url())
    a_mail(zeus)
    fan_out_all()
    assert zeus.api_key is not None
    api_keys.revoke(zeus.api_key)
    a_mail(zeus)

    assert deliver(receiver) == []


# Order


def test_events_of_one_email_arrive_in_order_and_those_of_others_at_the_same_time():
    in_progress: set[str] = set()
    most = 0

    async def answer(request: Received) -> bytes:
        nonlocal most
        assert request.mail not in in_progress
        in_progress.add(request.mail)
        most = max(most, len(in_progress))
        await asyncio.sleep(0)
        in_progress.discard(request.mail)
        return OK

    receiver, zeus = Receiver(answer), a_client()
    a_webhook(zeus, receiver.url())
    mails = [a_mail(zeus) for _ in range(15)]

    received = deliver(receiver)

    assert sorted(request.number for request in received) == numbers(*mails)
    assert in_order(received)
    assert 1 < most <= sender.SLOTS


def test_the_next_event_of_an_email_waits_for_the_one_before_and_those_of_others_do_not():
    bad, zeus = set[str](), a_client()
    receiver = Receiver(lambda request: reply(500) if request.mail in bad else OK)
    webhook = a_webhook(zeus, receiver.url())
    first, second = a_mail(zeus), a_mail(zeus)
    bad.add(first.pk.hex)

    received = deliver(receiver)

    assert [request.number for request in received if request.mail in bad] == numbers(first)[:1]
    assert [request.number for request in received if request.mail not in bad] == numbers(second)

    bad.clear()
    make_due(webhook)
    assert [request.number for request in deliver(receiver)] == numbers(first)


def test_what_waits_for_an_earlier_event_is_looked_at_no_more_than_that(monkeypatch):
    zeus, receiver = a_client(), Receiver(lambda _: reply(500))
    webhook = a_webhook(zeus, receiver.url())
    mail = a_mail(zeus)
    monkeypatch.setattr(deliveries, "compute_delay", lambda failures: dt.timedelta(hours=1))
    deliver(receiver)

    soon = database_clock.now() + dt.timedelta(minutes=30)
    assert deliver(receiver) == []

    waiting = webhook.deliveries.filter(mail_id=mail.pk, status="waiting")
    assert waiting.count() == len(numbers(mail))
    assert min(waiting.values_list("next_attempt_at", flat=True)) > soon


# What a crash leaves


def test_a_sender_that_is_killed_after_an_answer_sends_that_event_again_and_first(monkeypatch):
    receiver, zeus = Receiver(), a_client()
    webhook = a_webhook(zeus, receiver.url())
    mail = a_mail(zeus)

    def die(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as dying:
        dying.setattr(deliveries, "record", die)
        dying.setattr(deliveries, "release_all", lambda _: None)
        deliver(receiver, process="dead")
    assert receiver.received
    assert set(statuses(webhook)) == {"waiting"}

    assert deliver(receiver, process="b") == []  # until the lease has ended
    Webhook.objects.update(leased_until=database_clock.now() - dt.timedelta(seconds=1))
    again = deliver(receiver, process="b")

    assert [request.number for request in again] == numbers(mail)
    assert {request.id for request in receiver.received} == {request.id for request in again}
    assert in_order(receiver.received)


def test_two_processes_share_the_webhooks_and_neither_sends_twice():
    receiver, clients = Receiver(), [a_client(f"client-{number}") for number in range(6)]
    for client in clients:
        a_webhook(client, receiver.url(f"/{client.name}"))
    mails = [a_mail(client) for client in clients]
    fan_out_all()

    async def run() -> None:
        async with receiver:
            await asyncio.gather(Sender("a").run_until_idle(), Sender("b").run_until_idle())

    event_loop.run(run())

    assert sorted(request.number for request in receiver.received) == numbers(*mails)
    assert not Webhook.objects.exclude(leader="").exists()


def test_a_process_keeps_its_leases_and_no_others(django_assert_num_queries):
    clients = [a_client(f"client-{number}") for number in range(2)]
    mine, other = [a_webhook(client, "http://127.0.0.1:1/") for client in clients]
    soon = database_clock.now() + dt.timedelta(seconds=1)
    Webhook.objects.filter(pk=mine.pk).update(leader="a", leased_until=soon)
    Webhook.objects.filter(pk=other.pk).update(leader="b", leased_until=soon)

    with django_assert_num_queries(1):
        deliveries.renew("a")

    mine.refresh_from_db()
    other.refresh_from_db()
    assert mine.leased_until is not None
    assert mine.leased_until > soon
    assert other.leased_until == soon


# What is sent


def test_a_request_is_a_signed_standard_webhook():
    receiver, zeus = Receiver(), a_client()
    assert zeus.api_key is not None
    made = operations.create(zeus.api_key, url=receiver.url("/in?a=b"), by="user:zeus")
    mail = a_mail(zeus)

    request = deliver(receiver)[0]

    payload = Verifier(made.secret).verify(request.body, request.headers)
    event = Event.objects.get(pk=numbers(mail)[0])
    assert payload["type"] == "mercury.mail.new"
    assert payload["data"]["mail_id"] == str(mail.pk)
    assert payload["data"]["event_id"] == event.pk
    assert payload["data"]["application"] == "zeus"
    assert "hera@" not in request.body.decode()
    assert request.path == "/in?a=b"
    assert request.headers["content-type"] == "application/json"


def test_addresses_are_whole_only_where_the_webhook_says_so():
    receiver, zeus = Receiver(), a_client()
    a_webhook(zeus, receiver.url(), addresses=True)
    a_mail(zeus)

    assert json.loads(deliver(receiver)[0].body)["data"]["recipients"] == ["hera@olimpus.com"]


def test_both_secrets_sign_while_a_rotation_lasts_and_the_old_one_no_longer():
    receiver, zeus = Receiver(lambda _: reply(500)), a_client()
    assert zeus.api_key is not None
    made = operations.create(zeus.api_key, url=receiver.url(), by="user:zeus")
    a_mail(zeus)
    deliver(receiver)
    new = operations.rotate_secret(made.webhook, by="user:zeus", hours=1)
    receiver.answer = lambda _: OK
    make_due(made.webhook)

    request = deliver(receiver)[0]

    assert request.id == receiver.received[0].id
    for secret in (made.secret, new):
        Verifier(secret).verify(request.body, request.headers)

    Webhook.objects.update(previous_secret_until=database_clock.now())
    a_mail(zeus)
    request = deliver(receiver)[0]
    Verifier(new).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(made.secret).verify(request.body, request.headers)


def test_an_event_that_retention_has_deleted_is_given_up_and_the_next_one_sent():
    receiver, zeus = Receiver(), a_client()
    webhook = a_webhook(zeus, receiver.url())
    mail = a_mail(zeus)
    fan_out_all()
    first = webhook.deliveries.order_by("pk").first()
    assert first is not None
    webhook.deliveries.filter(pk=first.pk).update(event_id=0)

    received = deliver(receiver)

    first.refresh_from_db()
    assert first.status == "failed"
    assert "MERCURY_MAIL_RETENTION" in first.error
    assert [request.number for request in received] == numbers(mail)[1:]
    webhook.refresh_from_db()
    assert webhook.failures == 0
