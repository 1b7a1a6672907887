"""API keys and allowed senders in the admin: shown once, narrowed, rotated, revoked."""

import re

import pytest

from mails.access import api_keys
from mails.models import ApiKey
from mails.tests.people import zeus

pytestmark = pytest.mark.django_db
KEYS = "/admin/mails/apikey/"


def find_key(page: str) -> str:
    found = re.search(r"mk_[a-z0-9]{8}_[\w-]{43}", page)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("pk", ["zeus", "²", "9" * 40, "0"])
def test_a_key_that_is_not_there_is_not_shown(operator, pk):
    assert operator.get(f"{KEYS}{pk}/change/").status_code == 302


def test_a_key_is_shown_once_with_a_curl_line(operator):
    form = {"name": "accounts", "scopes": ["mails:send"], "senders": "zeus@olimpus.com\n@olimpus.com"}

    made = operator.post(f"{KEYS}add/", form, follow=True)
    again = operator.get(f"{KEYS}{ApiKey.objects.get().pk}/change/")

    text = find_key(made.text)
    assert api_keys.find(text) == ApiKey.objects.get()
    assert f"Bearer {text}" in made.text
    assert "no-store" in made.headers["Cache-Control"]
    assert text not in again.text
    assert ApiKey.objects.get().senders == ["zeus@olimpus.com", "@olimpus.com"]


@pytest.mark.parametrize("senders", ["zeus", "zeus@", "@", "a@b@c.com"])
def test_a_sender_that_is_no_address_is_named(operator, senders):
    page = operator.post(f"{KEYS}add/", {"name": "x", "scopes": ["mails:send"], "senders": senders}).text

    assert "is not a valid email address" in page
    assert not ApiKey.objects.exists()


def test_a_key_is_narrowed(operator):
    key, _text = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])

    operator.post(f"{KEYS}{key.pk}/change/", {"name": "accounts", "scopes": ["mails:read"], "senders": ""})

    key.refresh_from_db()
    assert (key.scopes, key.senders) == (["mails:read"], [])


def test_a_key_gets_a_rate_and_loses_it(operator):
    form = {"name": "accounts", "scopes": ["mails:send"], "senders": "*"}

    operator.post(f"{KEYS}add/", form | {"rate": "10"})
    key = ApiKey.objects.get()
    page, listed = operator.get(f"{KEYS}{key.pk}/change/").text, operator.get(KEYS).text
    operator.post(f"{KEYS}{key.pk}/change/", form | {"rate": ""})

    assert key.rate == "10/s"
    assert 'value="10/s"' in page
    assert "Empty: no limit." in page
    assert "10/s" in listed
    key.refresh_from_db()
    assert key.rate == ""
    assert "no limit" in operator.get(KEYS).text


def test_an_invalid_rate_is_named_and_the_input_kept(operator):
    page = operator.post(f"{KEYS}add/", {"name": "x", "scopes": ["mails:send"], "rate": "often"}).text

    assert "A rate is a number and a unit, such as 14/s, 600/m, 1000/h or 50000/d." in page
    assert 'value="often"' in page
    assert not ApiKey.objects.exists()


def test_revoking_asks_first(operator):
    key, text = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])
    url = f"{KEYS}{key.pk}/revoke/"

    asked = operator.get(url)
    usable = api_keys.find(text)
    operator.post(url)

    assert "Requests with this key will get 401" in asked.text
    assert usable == key
    assert api_keys.find(text) is None
    assert "Revoked" in operator.get(KEYS).text
    assert operator.get(url).status_code == 404


def test_rotating_shows_the_new_key_once_and_the_old_one_stays_valid(operator):
    key, old = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])

    page = operator.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "24"}, follow=True).text

    assert api_keys.find(find_key(page)) == key
    assert api_keys.find(old) == key
    assert operator.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "-5"}).status_code == 404


def test_keys_are_never_deleted(operator):
    key, _text = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])

    assert operator.post(f"{KEYS}{key.pk}/delete/").status_code == 403


def test_a_person_is_allowed_to_send_as_an_address(operator):
    user = zeus()

    page = operator.get(f"/admin/auth/user/{user.pk}/change/").text

    assert "zeus@olimpus.com" in page
    assert "Sender permissions" in page


def test_a_key_gets_limits_and_its_page_shows_what_is_used(operator):
    form = {"name": "accounts", "scopes": ["mails:send"], "senders": "*"}

    operator.post(f"{KEYS}add/", form | {"emails_per_minute": "60", "recipients_per_day": "1000"})
    key = ApiKey.objects.get()
    operator.get(f"{KEYS}{key.pk}/change/")  # shows the key, once
    page, listed = operator.get(f"{KEYS}{key.pk}/change/").text, operator.get(KEYS).text
    refused = operator.post(f"{KEYS}{key.pk}/change/", form | {"emails_per_minute": "0"}).text
    operator.post(f"{KEYS}{key.pk}/change/", form)

    assert (key.emails_per_minute, key.recipients_per_day) == (60, 1000)
    assert "Recipients today (UTC)</dt><dd>0 of 1000 used" in page
    assert "60 emails a minute; 1,000 recipients a day" in listed
    assert "A limit of 0 would refuse every email" in refused
    key.refresh_from_db()
    assert not key.has_limits
