import datetime as dt

import pytest
from django.utils import timezone

from mails.access import api_keys
from mails.models import ApiKey
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db


def test_a_key_is_shown_once_and_works():
    text = run(
        "apikey", "create", "shop", "--scope", "mails:send", "--sender", "@olimpus.com", "--expires", "90d", "--json"
    ).document["key"]

    key = api_keys.find(text)
    assert key is not None
    assert (key.name, key.scopes, key.senders) == ("shop", ["mails:send"], ["@olimpus.com"])
    assert key.expires_at is not None
    assert abs(key.expires_at - timezone.now() - dt.timedelta(days=90)) < dt.timedelta(minutes=1)
    assert text not in run("apikey", "list").out


def test_a_key_without_sender_says_that_it_may_not_send_yet():
    assert "It cannot send yet" in run("apikey", "create", "shop").out


def test_a_key_with_a_rate_has_it_in_the_list():
    run("apikey", "create", "shop", "--rate", "10")
    run("apikey", "create", "till", "--rate", "600/m")
    run("apikey", "create", "book")

    assert "600/m" in run("apikey", "list").out
    assert [(row["name"], row["rate"]) for row in run("apikey", "list", "--json").lines] == [
        ("book", None),
        ("shop", "10/s"),
        ("till", "600/m"),
    ]


def test_a_key_with_limits_has_them_in_the_list():
    run("apikey", "create", "shop", "--emails-per-minute", "60", "--recipients-per-day", "1000")

    (row,) = run("apikey", "list", "--json").lines
    assert (row["emails_per_minute"], row["recipients_per_day"]) == (60, 1000)
    assert (
        "recipients per day: 1,000" in run("apikey", "create", "till", "--recipients-per-day", "1000", "--dry-run").out
    )


@pytest.mark.parametrize(("limit", "words"), [("0", "revoke it"), ("ten", "is not a whole number from 0")])
def test_what_is_no_limit_is_refused_with_the_remedy(limit, words):
    ran = run("apikey", "create", "shop", "--recipients-per-day", limit)

    assert words in ran.error
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        ("fast", "A rate is a number and a unit, such as 14/s"),
        ("0.5/s", "is a whole number of emails"),
        ("1000000/d", "at most 100000"),
    ],
)
def test_what_is_no_rate_of_a_key_is_refused_with_how_to_write_one(rate, words):
    ran = run("apikey", "create", "shop", "--rate", rate)

    assert words in ran.error
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("sender", ["olimpus.com", "zeus@hera@olimpus.com", "zeus@", ""])
def test_what_no_mail_can_be_sent_as_is_refused_with_how_to_write_one(sender):
    ran = run("apikey", "create", "shop", "--sender", sender)

    assert "Write mercury@example.com, @example.com for a domain, or *." in ran.error
    assert not ApiKey.objects.exists()


def test_an_unknown_scope_is_refused_with_the_known_ones():
    ran = run("apikey", "create", "shop", "--scope", "mails:eat")

    assert "mails:send" in ran.error
    assert not ApiKey.objects.exists()


def test_a_dry_run_makes_no_key():
    assert (
        "allowed senders: none; rate limit: 10/s" in run("apikey", "create", "shop", "--rate", "10/s", "--dry-run").out
    )
    assert not ApiKey.objects.exists()


def test_the_list_shows_prefixes_and_states_and_no_secret():
    key, text = api_keys.create("shop", scopes=["mails:send"], senders=["*"])
    api_keys.revoke(key)

    table = run("apikey", "list").out

    assert key.prefix in table
    assert "revoked" in table
    assert text.split("_", 2)[2] not in table


def test_nothing_is_revoked_without_an_answer():
    key, text = api_keys.create("shop", scopes=["mails:send"], senders=["*"])

    ran = run("apikey", "revoke", key.prefix)

    assert ran.code == 2
    assert "--yes" in ran.error
    assert api_keys.find(text) is not None


def test_a_revoked_key_works_no_more():
    key, text = api_keys.create("shop", scopes=["mails:send"], senders=["*"])

    assert run("apikey", "revoke", f"mk_{key.prefix}", "--yes").code == 0

    assert api_keys.find(text) is None


def test_a_rotated_key_has_a_new_text_and_the_old_one_works_on():
    key, old = api_keys.create("shop", scopes=["mails:send"], senders=["*"])

    new = run("apikey", "rotate", key.prefix, "--overlap", "1h", "--json").document["key"]

    assert new != old
    assert api_keys.find(new) == api_keys.find(old) == key


@pytest.mark.parametrize("state", ["revoked", "expired"])
def test_a_key_that_is_over_gets_no_new_text_that_would_not_work(state):
    key, _ = api_keys.create("shop", scopes=["mails:send"], senders=["*"])
    over = {"revoked": {"revoked_at": timezone.now()}, "expired": {"expires_at": timezone.now()}}[state]
    ApiKey.objects.filter(pk=key.pk).update(**over)

    for words in ((), ("--dry-run",)):
        ran = run("apikey", "rotate", key.prefix, "--json", *words)

        assert ran.code == 1
        assert state in ran.error
        assert not ran.out
    assert ApiKey.objects.get(pk=key.pk).prefix == key.prefix


def test_a_key_that_is_revoked_at_the_same_moment_gets_no_new_text():
    key, _ = api_keys.create("shop", scopes=["mails:send"], senders=["*"])
    seen_before = ApiKey.objects.get(pk=key.pk)
    api_keys.revoke(key)

    with pytest.raises(api_keys.KeyNotUsable, match="revoked"):
        api_keys.rotate(seen_before, dt.timedelta(hours=1))


def test_an_unknown_prefix_fails():
    ran = run("apikey", "revoke", "nothere1", "--yes")

    assert ran.code == 1
    assert "apikey list" in ran.error
