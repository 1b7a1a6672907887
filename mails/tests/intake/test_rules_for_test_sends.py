"""A test email keeps the rules of every email, and is recorded by every door."""

import datetime as dt

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from mails import pauses
from mails.models import SenderPermission
from mails.queues import QueueName
from mails.tests.commandline import run
from mails.tests.people import browser_of, hermes
from mercury.lib.audit.models import Act, AuditEntry
from providers.accounts import delivery_test, registration, registry
from providers.models import Breaker, BreakerChange
from providers.outcomes import Accepted

pytestmark = pytest.mark.django_db
ADDRESSES = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}


@pytest.fixture
def relay(monkeypatch):
    """An account that really sends, as far as the rules know."""
    sent = []

    def send_all(configs, **addresses):
        sent.append(addresses)
        return [Accepted(provider_message_id="x1", status_code=250) for _ in configs]

    monkeypatch.setattr(delivery_test, "send_all", send_all)
    options = {"host": "smtp.example.com", "username": "mercury", "password": "secret-password"}
    monkeypatch.setattr("providers.outbound_hosts.check_host", lambda *_, **__: None)
    account = registration.register("relay", "smtp", options, by="test")
    account.sent = sent
    return account


def argus(*senders) -> User:
    user = User.objects.create_user("argus", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_account", "change_account"]))
    for sender in senders:
        SenderPermission.objects.create(user=user, address=sender)
    return user


def test_a_test_by_page_and_command_is_recorded_with_who_and_what_came_of_it(relay):
    url = f"/admin/providers/account/{relay.pk}/test/"

    page = browser_of(hermes()).post(url, ADDRESSES)
    command = run("providers", "test", "relay", "--to", "hera@olimpus.com")

    assert "Accepted" in page.text
    assert command.code == 0
    kept = AuditEntry.objects.filter(act=Act.TEST).order_by("id")
    words = "test email to hera@olimpus.com: relay accepted it (250, id x1)."
    assert list(kept.values_list("by", "name", "detail")) == [
        ("user:hermes", "relay", words),
        ("command line", "relay", words),
    ]
    assert BreakerChange.objects.filter(account=relay, what=words).count() == 2


@pytest.mark.parametrize("stop", ["instance", "queue"])
def test_while_sending_is_paused_no_test_is_sent(relay, stop):
    if stop == "instance":
        pauses.pause(by="user:hera")
    else:
        pauses.pause(QueueName.TEXT, by="user:hera")

    page = browser_of(hermes()).post(f"/admin/providers/account/{relay.pk}/test/", ADDRESSES)
    all_page = browser_of(User.objects.get()).post("/admin/providers/account/test/", ADDRESSES)
    command = run("providers", "test", "relay", "--to", "hera@olimpus.com")

    assert (page.status_code, all_page.status_code, command.code) == (400, 400, 1)
    for text in (page.text, all_page.text, command.error):
        assert "paused since" in text
        assert "by hera" in text
    assert relay.sent == []
    assert not AuditEntry.objects.filter(act=Act.TEST).exists()


def test_a_person_tests_as_the_addresses_they_may_use(relay):
    browser = browser_of(argus("@olimpus.com"))
    url = f"/admin/providers/account/{relay.pk}/test/"

    refused = browser.post(url, ADDRESSES | {"sender": "ceo@hades.com"})
    sent = browser.post(url, ADDRESSES)

    assert refused.status_code == 400
    assert "You may not send as ceo@hades.com" in refused.text
    assert sent.status_code == 200
    assert [sent["sender"] for sent in relay.sent] == ["zeus@olimpus.com"]


def test_a_sandbox_needs_no_sender_permission(olympus):
    browser = browser_of(argus())

    page = browser.post(f"/admin/providers/account/{olympus.account.pk}/test/", ADDRESSES)

    assert "Accepted" in page.text


def test_a_wait_that_the_provider_asked_for_is_kept(relay):
    Breaker.objects.filter(account=relay).update(limited_until=timezone.now() + dt.timedelta(minutes=1))

    page = browser_of(hermes()).post(f"/admin/providers/account/{relay.pk}/test/", ADDRESSES)

    assert "asked to wait until" in page.text
    assert relay.sent == []


def test_a_test_that_breaks_off_is_recorded_too(relay, monkeypatch):
    monkeypatch.setattr(delivery_test, "send_all", lambda *_, **__: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        delivery_test.run([registry.load_candidates()[0].config], by="command line", **ADDRESSES)

    assert "interrupted, it may have been sent" in AuditEntry.objects.get(act=Act.TEST).detail
