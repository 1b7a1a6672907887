"""Events are delivered again on request, and a test event at any time."""

import datetime as dt
import json
import socket

import pytest
from standardwebhooks import Webhook as Verifier

from mails.events.webhooks import operations, redelivery
from mails.events.webhooks.operations import InvalidChoice, TooManyWebhooks, WebhookDisabled
from mails.events.webhooks.redelivery import Period
from mails.events.webhooks.urls import UrlNotAllowed, check_url
from mails.models import Webhook, WebhookDelivery
from mails.reporting import webhook_status
from mails.tests.builders import a_mail
from mails.tests.events.webhooks.support import OK, Receiver, a_client, a_webhook, deliver, fan_out_all, numbers, reply
from mercury.lib.audit.models import AuditEntry
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)
LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def test_a_delivery_is_made_again_with_the_same_message_id():
    receiver, zeus = Receiver(), a_client()
    webhook = a_webhook(zeus, receiver.url())
    a_mail(zeus)
    deliver(receiver)
    delivery = webhook.deliveries.order_by("pk").first()
    assert delivery is not None

    assert redelivery.redeliver(delivery, by="user:zeus").status == "waiting"
    (again,) = deliver(receiver)

    assert again.id == receiver.received[0].id == delivery.message_id
    assert webhook.deliveries.get(pk=delivery.pk).status == "delivered"


def test_a_range_is_delivered_again_whole_or_what_failed_of_it():
    receiver, zeus = Receiver(), a_client()
    before = a_mail(zeus)
    webhook = a_webhook(zeus, receiver.url())
    mail = a_mail(zeus)
    deliver(receiver)
    failed = webhook.deliveries.order_by("pk").first()
    assert failed is not None
    webhook.deliveries.filter(pk=failed.pk).update(status="failed")
    webhook.refresh_from_db()
    later = database_clock.now() + dt.timedelta(hours=1)

    what_failed, everything = (Period(since=LONG_AGO, until=later, only_failed=only) for only in (True, False))
    assert redelivery.count_period(webhook, what_failed) == 1
    assert redelivery.redeliver_period(webhook, what_failed, by="user:zeus") == 1
    assert redelivery.count_period(webhook, what_failed) == 0
    assert [request.id for request in deliver(receiver)] == [failed.message_id]

    assert redelivery.count_period(webhook, everything) == len(numbers(before, mail))
    assert redelivery.redeliver_period(webhook, everything, by="user:zeus") == len(numbers(before, mail))
    assert sorted(request.number for request in deliver(receiver)) == numbers(before, mail)

    nothing = Period(since=later, until=later, only_failed=False)
    assert redelivery.count_period(webhook, nothing) == redelivery.redeliver_period(webhook, nothing, by="zeus") == 0
    with pytest.raises(redelivery.RangeTooLong):
        redelivery.redeliver_period(webhook, everything, by="user:zeus", most_events=1)
    with pytest.raises(redelivery.RangeTooLong):
        redelivery.count_period(webhook, what_failed, most_events=1)


def test_only_events_that_the_webhook_has_chosen_are_counted():
    receiver, zeus = Receiver(), a_client()
    a_mail(zeus)
    webhook = a_webhook(zeus, receiver.url(), events=["NEW"])
    webhook.position = 10**6
    period = Period(since=LONG_AGO, until=database_clock.now() + dt.timedelta(hours=1), only_failed=False)

    assert redelivery.count_period(webhook, period) == 1


def test_a_test_is_sent_first_and_also_while_the_webhook_rests():
    zeus = a_client()
    receiver = Receiver(lambda _: reply(503, "Retry-After: 3600"))
    assert zeus.api_key is not None
    made = operations.create(zeus.api_key, url=receiver.url(), by="user:zeus")
    a_mail(zeus)
    deliver(receiver)
    receiver.answer = lambda _: OK

    delivery = operations.send_test(made.webhook, by="user:zeus")
    request = deliver(receiver)[0]

    assert json.loads(request.body)["type"] == "mercury.test"
    assert request.id == delivery.message_id
    Verifier(made.secret).verify(request.body, request.headers)
    assert WebhookDelivery.objects.get(pk=delivery.pk).status == "delivered"

    operations.disable(made.webhook, by="user:zeus")
    with pytest.raises(WebhookDisabled):
        operations.send_test(made.webhook, by="user:zeus")


def test_the_status_of_webhooks_takes_one_query(django_assert_num_queries):
    receiver, zeus = Receiver(), a_client()
    webhook, other = a_webhook(zeus, receiver.url("/a")), a_webhook(zeus, "http://127.0.0.1:1/")
    a_mail(zeus)
    deliver(receiver)

    with django_assert_num_queries(1):
        found = webhook_status.find_status([webhook.pk, other.pk])

    assert found[webhook.pk].share == 1.0
    assert found[webhook.pk].waiting == 0
    assert found[webhook.pk].oldest is None
    assert found[other.pk].share is None
    assert found[other.pk].waiting == found[webhook.pk].delivered == webhook.deliveries.count()
    assert found[other.pk].oldest == min(other.deliveries.values_list("created_at", flat=True))


def test_a_removed_webhook_leaves_nothing_but_its_audit():
    receiver, zeus = Receiver(), a_client()
    webhook = a_webhook(zeus, receiver.url())
    a_mail(zeus)
    deliver(receiver)

    operations.remove(webhook, by="user:zeus")

    assert not Webhook.objects.exists()
    assert not WebhookDelivery.objects.exists()
    assert list(AuditEntry.objects.filter(kind="webhook").values_list("act", flat=True)) == [
        "delete",
        "change",
        "register",
    ]


def test_a_change_holds_for_what_is_sent_after_it():
    receiver, zeus = Receiver(lambda _: reply(503, "Retry-After: 3600")), a_client()
    webhook = a_webhook(zeus, receiver.url("/old"))
    mail = a_mail(zeus)
    deliver(receiver)
    receiver.answer = lambda _: OK

    operations.update(webhook, by="user:zeus", url=receiver.url("/new"), addresses=True)
    webhook.deliveries.update(next_attempt_at=database_clock.now())
    deliver(receiver)

    assert [request.number for request in receiver.at("/new")] == numbers(mail)
    assert b"hera@" in receiver.at("/new")[0].body


def test_wrong_values_are_refused_with_a_reason():
    zeus = a_client()
    assert zeus.api_key is not None
    with pytest.raises(InvalidChoice, match="DONE"):
        operations.create(zeus.api_key, url="http://127.0.0.1/", by="user:zeus", events=["DUNE"])
    for number in range(operations.MOST_PER_KEY):
        a_webhook(zeus, f"http://127.0.0.1/{number}")
    with pytest.raises(TooManyWebhooks):
        a_webhook(zeus, "http://127.0.0.1/")
    webhook = Webhook.objects.first()
    assert webhook is not None
    with pytest.raises(InvalidChoice):
        operations.rotate_secret(webhook, by="user:zeus", hours=-1)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://10.0.0.1/", "private address"),
        ("https://[::1]/", "private address"),
        ("https://169.254.169.254/latest", "private address"),
        ("https://0x7f.1/", "private address"),
        ("https://localhost/", "private address"),
        ("http://olimpus.com/", "needs https"),
        ("https://zeus:secret@olimpus.com/", "user name"),
        ("https://olimpus.com/#a", "fragment"),
        ("https:///hook", "not a URL"),
        ("ftp://olimpus.com/", "not a URL"),
        ("https://olimpus.com/\r\nX: y", "invisible"),
        ("https://olimpus.com/" + "a" * 2000, "characters"),
        ("", "not a URL"),
    ],
)
def test_a_url_that_a_webhook_cannot_have_is_refused(settings, url, reason):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = []
    with pytest.raises(UrlNotAllowed, match=reason):
        check_url(url)


def test_a_public_name_is_accepted_and_a_name_of_a_private_address_is_not(monkeypatch):
    addresses = {"hera.example": "93.184.215.14", "hades.example": "192.168.0.1"}
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: [(2, 1, 6, "", (addresses[host], 0))])

    check_url("https://hera.example:8443/in?token=1")
    with pytest.raises(UrlNotAllowed):
        check_url("https://hades.example/")


def test_the_lag_is_the_age_of_the_first_event_that_a_working_webhook_lacks(django_assert_num_queries):
    receiver, zeus = Receiver(), a_client()
    now = database_clock.now()
    with django_assert_num_queries(1):
        assert webhook_status.measure_lag(now) is None
    webhook = a_webhook(zeus, receiver.url())
    assert webhook_status.measure_lag(now) == 0.0
    a_mail(zeus)
    later = database_clock.now() + dt.timedelta(hours=1)

    def measure() -> float:
        return webhook_status.measure_lag(later) or 0.0

    assert 3590 < measure() < 3660  # not yet written
    fan_out_all()
    assert 3590 < measure() < 3660  # not yet sent
    deliver(receiver)
    assert measure() == 0.0
    a_mail(zeus)
    fan_out_all()
    Webhook.objects.filter(pk=webhook.pk).update(failing_since=now)
    assert measure() == 0.0
