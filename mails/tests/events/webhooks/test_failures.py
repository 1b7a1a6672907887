"""What a webhook does wrong delays nobody else, is repeated with patience, and ends with a reason."""

import asyncio
import datetime as dt
import socket

import pytest
from django.test import override_settings

from mails.events.webhooks import attempt, backoff, deliveries, operations
from mails.events.webhooks.backoff import REST_AFTER
from mails.models import Webhook
from mails.reporting import alerts, system_status
from mails.reporting.account_alerts import Alert
from mails.tests.builders import a_mail
from mails.tests.events.webhooks.support import (
    OK,
    Received,
    Receiver,
    a_client,
    a_webhook,
    deliver,
    fan_out_all,
    make_due,
    numbers,
    reply,
)
from mercury.lib.database import database_clock
from providers import outbound_hosts

pytestmark = pytest.mark.django_db(transaction=True)


def fail_with(answer: bytes):
    """A webhook that answers its first events so; with the receiver."""
    receiver, zeus = Receiver(lambda _: answer), a_client()
    webhook = a_webhook(zeus, receiver.url("/hook?token=1"))
    a_mail(zeus)
    deliver(receiver)
    webhook.refresh_from_db()
    delivery = webhook.deliveries.order_by("pk").first()
    assert delivery is not None
    return webhook, delivery, receiver


def seconds_until(moment: dt.datetime | None) -> float:
    assert moment is not None
    return (moment - database_clock.now()).total_seconds()


def test_a_failure_is_kept_with_its_answer_and_repeated_soon():
    webhook, delivery, receiver = fail_with(reply(500, body="No\x1b[31m way" + "!" * 2000))

    assert len(receiver.received) == 1
    assert (delivery.status, delivery.attempts, delivery.status_code) == ("waiting", 1, 500)
    assert delivery.answer.startswith("No\N{REPLACEMENT CHARACTER}[31m way!!!")
    assert len(delivery.answer) == 1000
    assert delivery.error == webhook.last_error == "It answered 500."
    assert seconds_until(delivery.next_attempt_at) <= backoff.FIRST
    assert webhook.failing_since is not None


def test_a_redirect_is_a_failure_and_not_followed():
    other = Receiver()
    _, delivery, receiver = fail_with(reply(301, f"Location: {other.url()}"))

    assert len(receiver.received) == 1
    assert other.received == []
    assert "Redirects are not followed" in delivery.error
    assert other.url() in delivery.error


def test_410_disables_the_webhook_and_its_events_wait():
    webhook, delivery, receiver = fail_with(reply(410))

    assert webhook.disabled_by == "Mercury"
    assert "410" in webhook.disabled_reason
    assert delivery.status == "waiting"
    assert deliver(receiver) == []

    receiver.answer = lambda _: OK
    operations.enable(webhook, by="user:zeus")
    assert len(deliver(receiver)) == webhook.deliveries.count()
    assert set(webhook.deliveries.values_list("status", flat=True)) == {"delivered"}


@pytest.mark.parametrize("status", [429, 503])
def test_an_answer_that_asks_to_wait_gets_nothing_until_then(status):
    webhook, delivery, receiver = fail_with(reply(status, "Retry-After: 3600"))

    assert 3590 < seconds_until(webhook.rests_until) <= 3600
    assert 3590 < seconds_until(delivery.next_attempt_at) <= 3600
    assert webhook.api_key.webhooks.count() == 1
    assert deliver(receiver) == []


def test_an_answer_without_end_is_cut_off_and_its_status_counts(monkeypatch):
    async def answer(_: Received) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n" + b"x" * 200_000

    receiver, zeus = Receiver(answer), a_client()
    webhook = a_webhook(zeus, receiver.url())
    mail = a_mail(zeus)

    deliver(receiver)

    assert len(receiver.received) == len(numbers(mail))
    assert set(webhook.deliveries.values_list("status", "answer")) == {("delivered", "x" * 1000)}


def test_a_slow_webhook_delays_no_other(monkeypatch):
    monkeypatch.setattr(attempt, "TIMEOUT", 1.0)
    fast_ended = asyncio.Event()
    fast_mails: list[int] = []

    async def answer(request: Received) -> bytes:
        if request.path == "/slow":
            await asyncio.Event().wait()
        if len(receiver.at("/fast")) == len(fast_mails):
            fast_ended.set()
        return OK

    receiver, zeus, hades = Receiver(answer), a_client(), a_client("hades")
    slow, fast = a_webhook(zeus, receiver.url("/slow")), a_webhook(hades, receiver.url("/fast"))
    for _ in range(3):
        a_mail(zeus)
    fast_mails += numbers(*(a_mail(hades) for _ in range(3)))

    deliver(receiver)

    last_fast = max(fast.deliveries.values_list("finished_at", flat=True))
    first_slow = min(slow.deliveries.exclude(attempted_at=None).values_list("attempted_at", flat=True))
    assert fast_ended.is_set()
    assert last_fast < first_slow
    assert {row.error for row in slow.deliveries.exclude(attempts=0)} == {"No answer within 1 seconds."}


def test_a_private_address_is_refused_when_the_name_leads_to_one_at_the_time_of_sending(monkeypatch):
    receiver, zeus = Receiver(), a_client()

    async def resolve(host: str, port: int):
        return [(socket.AF_INET, ("127.0.0.1", receiver.port))]

    webhook = a_webhook(zeus, "http://127.0.0.1:1/")
    monkeypatch.setattr(outbound_hosts, "look_up", resolve)
    Webhook.objects.update(url=f"https://rebinding.example:{receiver.port}/hook")
    a_mail(zeus)

    assert deliver(receiver) == []

    delivery = webhook.deliveries.exclude(attempts=0).get()
    assert "'rebinding.example' is a private address, or resolves to one" in delivery.error


def test_a_host_that_is_no_longer_allowed_gets_nothing():
    receiver, zeus = Receiver(), a_client()
    webhook = a_webhook(zeus, receiver.url())
    a_mail(zeus)

    with override_settings(MERCURY_PRIVATE_HOSTS_ALLOWED=[]):
        assert deliver(receiver) == []

    assert "https" in webhook.deliveries.exclude(attempts=0).get().error


def test_a_dead_webhook_with_many_events_gets_one_request_now_and_then():
    zeus, receiver = a_client(), Receiver(lambda _: reply(500))
    webhook = a_webhook(zeus, receiver.url())
    for _ in range(30):
        a_mail(zeus)

    first = deliver(receiver)
    webhook.refresh_from_db()
    assert REST_AFTER <= len(first) <= 15
    assert seconds_until(webhook.rests_until) > 0
    assert deliver(receiver) == []

    never_tried = set(webhook.deliveries.filter(attempts=0).values_list("event_id", flat=True))
    make_due(webhook)
    (probe,) = deliver(receiver)
    assert probe.number in never_tried

    receiver.answer = lambda _: OK
    webhook.deliveries.filter(attempts__gt=0).update(next_attempt_at=database_clock.now() + dt.timedelta(hours=8))
    Webhook.objects.update(rests_until=None)
    deliver(receiver)
    assert set(webhook.deliveries.values_list("status", flat=True)) == {"delivered"}
    webhook.refresh_from_db()
    assert (webhook.failures, webhook.failing_since, webhook.last_error) == (0, None, "")


def test_after_three_days_the_webhook_is_disabled_with_an_alert_and_nothing_is_lost():
    webhook, _, receiver = fail_with(reply(500))
    Webhook.objects.update(failing_since=database_clock.now() - dt.timedelta(days=2, hours=23))
    make_due(webhook)
    deliver(receiver)
    webhook.refresh_from_db()
    assert webhook.disabled_at is None
    assert [alert.code for alert in find_alerts()] == ["webhook_failing"]

    Webhook.objects.update(failing_since=database_clock.now() - dt.timedelta(days=3))
    make_due(webhook)
    deliver(receiver)
    webhook.refresh_from_db()

    assert webhook.disabled_by == "Mercury"
    assert webhook.disabled_reason == "It has failed for three days: It answered 500."
    (alert,) = find_alerts()
    assert alert.code == "webhook_disabled"
    assert receiver.url("/hook of zeus") in alert.sentence
    assert set(webhook.deliveries.values_list("status", flat=True)) == {"waiting"}

    operations.disable(webhook, by="user:zeus", reason="I know.")
    assert find_alerts() == []
    operations.enable(webhook, by="user:zeus")
    receiver.answer = lambda _: OK
    deliver(receiver)
    assert set(webhook.deliveries.values_list("status", flat=True)) == {"delivered"}


def find_alerts() -> list[Alert]:
    found = alerts.find_alerts(system_status.read_system_status())
    return [alert for alert in found if alert.code.startswith("webhook")]


def test_an_event_that_fails_for_three_days_is_given_up_while_others_arrive():
    bad: set[str] = set()
    zeus = a_client()
    receiver = Receiver(lambda request: reply(400) if request.id in bad else OK)
    webhook = a_webhook(zeus, receiver.url())
    mail, other = a_mail(zeus), a_mail(zeus)
    fan_out_all()
    first = webhook.deliveries.filter(mail_id=mail.pk).order_by("pk").first()
    assert first is not None
    bad.add(first.message_id)
    deliver(receiver)
    webhook.deliveries.filter(pk=first.pk).update(first_attempt_at=database_clock.now() - dt.timedelta(days=3))
    make_due(webhook)

    deliver(receiver)

    first.refresh_from_db()
    webhook.refresh_from_db()
    assert first.status == "failed"
    assert first.next_attempt_at is None
    assert {row.status for row in webhook.deliveries.exclude(pk=first.pk)} == {"delivered"}
    assert webhook.disabled_at is None
    assert len({request.number for request in receiver.received}) == len(numbers(mail, other))


def test_a_secret_that_cannot_be_read_stops_that_webhook_and_says_so(settings):
    receiver, zeus = Receiver(), a_client()
    webhook = a_webhook(zeus, receiver.url())
    a_mail(zeus)
    Webhook.objects.update(secret="gAAAAA")

    assert deliver(receiver) == []

    webhook.refresh_from_db()
    assert "MERCURY_ENCRYPTION_KEYS" in webhook.last_error
    assert webhook.failing_since is not None


def test_a_failure_of_this_machine_is_not_held_against_the_webhook(monkeypatch):
    receiver, zeus = Receiver(), a_client()
    webhook = a_webhook(zeus, receiver.url())
    a_mail(zeus)

    async def have_no_descriptor(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("providers.transports.tcp.open_socket", have_no_descriptor)
    deliver(receiver)

    webhook.refresh_from_db()
    delivery = webhook.deliveries.exclude(attempted_at=None).get()
    assert (delivery.attempts, delivery.status) == (0, "waiting")
    assert 0 < seconds_until(delivery.next_attempt_at) <= deliveries.LOCAL_PAUSE.total_seconds()
    assert webhook.failing_since is None
