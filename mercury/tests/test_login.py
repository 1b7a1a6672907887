"""The limits of log-ins: nobody guesses on, and nobody is kept out of a browser that they use."""

import datetime as dt

import pytest
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from mails.tests.people import PASSWORD
from mercury import login
from mercury.lib import client_addresses

pytestmark = pytest.mark.django_db


@pytest.fixture
def zeus(monkeypatch) -> User:
    monkeypatch.setattr(login, "FAILURES_BY_NAME", 20)
    monkeypatch.setattr(login, "FAILURES_BY_ADDRESS", 30)
    return User.objects.create_user("zeus", password=PASSWORD)


def log(client, *, address="192.0.2.1", name="zeus", password="no", agent="x") -> int:
    form = {"username": name, "password": password}
    return client.post("/login/", form, REMOTE_ADDR=address, HTTP_USER_AGENT=agent).status_code


def attack(count: int, **who) -> None:
    """Failures of many different addresses and names, as axes has them."""
    for number in range(count):
        AccessAttempt.objects.create(
            username=who.get("name") or f"name-{number}",
            ip_address=who.get("address") or f"198.51.100.{number}",
            failures_since_start=1,
            attempt_time=timezone.now(),
        )


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:0:1::7", "2001:db8:0:1::"),
        ("2001:db8:0:1:ffff:ffff:ffff:ffff", "2001:db8:0:1::"),
        ("2001:db8:0:2::7", "2001:db8:0:2::"),
        ("", client_addresses.UNKNOWN),
        ("unknown", client_addresses.UNKNOWN),
    ],
)
def test_what_one_client_has_to_itself_counts_as_one_address(address, network):
    assert client_addresses.get_network(address) == network


def test_addresses_of_one_64_share_the_limit(client, zeus):
    answers = [log(client, address=f"2001:db8:0:1::{number:x}") for number in range(11)]

    assert answers == [200] * 9 + [429, 429]
    assert log(client, address="2001:db8:0:2::1", password=PASSWORD) == 302


def test_those_whose_address_is_not_known_share_the_limit(client, settings, zeus):
    settings.MERCURY_PROXIES = 1
    form = {"username": "zeus", "password": "no"}

    answers = [client.post("/login/", form, HTTP_X_FORWARDED_FOR=f"x{number}").status_code for number in range(11)]

    assert answers[-1] == 429


def test_one_name_is_tried_only_so_often_from_all_addresses_together(client, zeus):
    attack(20, name="zeus")

    assert log(client, password=PASSWORD) == 429
    assert log(client, name="hera") == 200


def test_one_address_tries_only_so_many_names(client, zeus):
    attack(30, address="192.0.2.1")

    assert log(client, password=PASSWORD) == 429
    assert log(client, address="192.0.2.2", password=PASSWORD) == 302


def test_a_stranger_keeps_nobody_out_of_their_browser(zeus):
    own, strange = Client(), Client()
    log(own, address="203.0.113.9", password=PASSWORD)
    AccessLog.objects.all().delete()

    attack(20, name="zeus")

    assert log(own, address="203.0.113.77", password=PASSWORD) == 302  # the browser is known
    assert log(strange, address="203.0.113.77", name="zeus", password=PASSWORD) == 302  # and now the address is
    assert log(Client(), address="203.0.113.78", password=PASSWORD) == 429


def test_nobody_is_known_by_somebody_elses_mark_or_an_old_one(zeus):
    hera = User.objects.create_user("hera", password=PASSWORD)
    hers, own = Client(), Client()
    log(hers, name="hera", address="203.0.113.8", password=PASSWORD)
    log(own, address="203.0.113.9", password=PASSWORD)
    zeus.set_password("another-pass-phrase")
    zeus.save()
    AccessLog.objects.all().delete()

    attack(20, name="zeus")

    assert hera.pk != zeus.pk
    assert log(hers, address="203.0.113.1", password="another-pass-phrase") == 429
    assert log(own, address="203.0.113.2", password="another-pass-phrase") == 429


def test_a_known_browser_has_a_limit_too(zeus):
    own = Client()
    log(own, password=PASSWORD)

    assert [log(own, address="203.0.113.1") for _ in range(11)][-1] == 429


def test_the_limits_end_by_themselves_also_while_others_try(client, zeus):
    attack(20, name="zeus")
    assert log(client, password=PASSWORD) == 429
    counted = AccessAttempt.objects.filter(username="zeus").count()

    log(client, address="192.0.2.50")  # refused, and so not counted
    AccessAttempt.objects.update(attempt_time=timezone.now() - dt.timedelta(minutes=11))

    assert AccessAttempt.objects.filter(username="zeus").count() == counted
    assert log(client, password=PASSWORD) == 302
