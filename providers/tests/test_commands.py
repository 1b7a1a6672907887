"""`manage.py providers` and `manage.py sandbox`, as a person would run them."""

import io
import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from providers import registry
from providers.models import Account, Breaker, BreakerChange, SandboxFault
from providers.sandbox import mailbox

pytestmark = pytest.mark.django_db


def _run(*words):
    """Exit code, and what was written; nobody sits at the terminal."""
    out = io.StringIO()
    try:
        call_command(*words, stdout=out)
    except CommandError as error:
        return error.returncode, str(error)
    except SystemExit as leaving:
        return leaving.code, out.getvalue()
    return 0, out.getvalue()


def _json(*words):
    _, text = _run(*words, "--json")
    return [json.loads(line) for line in text.splitlines()]


def test_the_list_shows_each_account_and_its_breaker():
    code, text = _run("providers", "list")

    assert code == 0
    for words in ("sandbox-a", "sandbox-b", "default", "in use", "closed", "no faults"):
        assert words in text


def test_the_list_as_json_is_one_account_a_line():
    registry.register("olympus", "sendgrid", {"api_key": "SG.thunderbolt"}, rate=0.5, by="zeus")

    rows = _json("providers", "list")

    assert [(row["name"], row["state"], row["rate"]) for row in rows] == [
        ("olympus", "in use", "0.5/s"),
    ] + ([(row["name"], "disabled", "") for row in rows[1:]])
    assert "thunderbolt" not in json.dumps(rows)


def test_an_account_that_lacks_its_variable_is_said_so(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox:"}
    registry.candidates()
    settings.MERCURY_ENVIRONMENT = {}

    assert "not configured here" in _run("providers", "list")[1]


def test_a_test_mail_goes_straight_through():
    code, text = _run("providers", "test", "sandbox-a", "--to", "hera@olimpus.com", "--from", "zeus@olimpus.com")

    assert code == 0
    assert "sandbox-a took it" in text
    (kept,) = mailbox.messages("sandbox-a")
    assert (kept.sender, kept.to, kept.subject) == ("zeus@olimpus.com", "hera@olimpus.com", "Test mail from Mercury")


def test_a_test_that_is_refused_fails_and_says_why():
    _run("sandbox", "set", "sandbox-a", "refuse=401")

    code, text = _run("providers", "test", "sandbox-a")

    assert code == 1
    assert "Fault of the account, http-401" in text


def test_a_test_whose_outcome_nobody_knows_says_so():
    _run("sandbox", "set", "sandbox-a", "lose")

    (document,) = _json("providers", "test", "sandbox-a")

    assert document["outcome"] == "unknown"
    assert document["words"].startswith("Nobody can tell whether sandbox-a took it")


def test_a_test_through_a_real_account_needs_an_address():
    registry.register("olympus", "sendgrid", {"api_key": "SG.thunderbolt"}, by="zeus")

    code, text = _run("providers", "test", "olympus")

    assert (code, text) == (2, "Say who gets the test mail: --to you@example.com.")


def test_a_breaker_is_forced_and_given_back():
    code, _ = _run("providers", "breaker", "sandbox-a", "open", "--yes", "--why", "the bill is unpaid")

    assert code == 0
    assert Breaker.objects.get(account__name="sandbox-a").mode == "open"
    change = BreakerChange.objects.first()
    assert change is not None
    assert (change.by, change.what) == ("command line", "forced open, “the bill is unpaid”")
    assert "Forced open" in _run("providers", "list")[1]
    assert _run("providers", "breaker", "sandbox-a", "auto")[0] == 0
    assert Breaker.objects.get(account__name="sandbox-a").mode == "auto"


def test_an_account_is_disabled_and_enabled():
    assert _run("providers", "disable", "sandbox-a", "--yes", "--why", "the bill is unpaid")[0] == 0
    assert BreakerChange.objects.latest("id").what == "disabled, “the bill is unpaid”"
    assert not Account.objects.get(name="sandbox-a").enabled
    assert _json("providers", "enable", "sandbox-a") == [{"account": "sandbox-a", "enabled": True}]
    assert Account.objects.get(name="sandbox-a").enabled


@pytest.mark.parametrize("words", [("breaker", "sandbox-a", "open"), ("disable", "sandbox-a")])
def test_what_stops_mail_asks_first(words):
    code, text = _run("providers", *words)

    assert code == 2
    assert "repeat with --yes" in text
    assert Account.objects.get(name="sandbox-a").enabled
    assert Breaker.objects.get(account__name="sandbox-a").mode == "auto"


@pytest.mark.parametrize(
    "words",
    [("breaker", "sandbox-a", "open"), ("disable", "sandbox-a"), ("test", "sandbox-a", "--to", "hera@olimpus.com")],
)
def test_a_dry_run_changes_nothing(words):
    code, text = _run("providers", *words, "--dry-run")

    assert code == 0
    assert text.startswith("Would ")
    assert Account.objects.get(name="sandbox-a").enabled
    assert Breaker.objects.get(account__name="sandbox-a").mode == "auto"
    assert mailbox.messages("sandbox-a") == []


@pytest.mark.parametrize(
    "words",
    [
        ("providers", "test", "nobody"),
        ("providers", "enable", "nobody"),
        ("providers", "breaker", "nobody", "auto"),
        ("sandbox", "set", "nobody", "hang"),
        ("sandbox", "clear", "nobody"),
    ],
)
def test_an_unknown_account_is_wrong_use_and_names_the_known(words):
    code, text = _run(*words)

    assert code == 2
    assert "There is no account 'nobody'" in text
    assert "sandbox-a" in text


def test_a_fault_is_set_shown_and_cleared():
    assert _run("sandbox", "set", "sandbox-a", "slow=3", "--for", "5m")[1] == "sandbox-a is told for 5 min: slow=3.\n"
    assert [(row["account"], row["fault"]) for row in _json("sandbox", "list")] == [
        ("sandbox-a", "slow=3"),
        ("sandbox-b", "none"),
    ]
    assert _run("sandbox", "clear", "sandbox-a")[0] == 0
    assert not SandboxFault.objects.exists()


def test_without_a_word_the_sandbox_is_shown():
    mailbox.keep("sandbox-b", b"Subject: hi\n\nhi")

    code, text = _run("sandbox")

    assert code == 0
    assert "sandbox-b" in text


def test_clearing_all_clears_all():
    _run("sandbox", "set", "sandbox-a", "hang")
    _run("sandbox", "set", "sandbox-b", "lose")

    _run("sandbox", "clear")

    assert not SandboxFault.objects.exists()


@pytest.mark.parametrize("fault", ["quick", "slow=-3", "refuse=200"])
def test_a_fault_that_is_none_is_wrong_use(fault):
    assert _run("sandbox", "set", "sandbox-a", fault)[0] == 2


def test_a_real_account_cannot_be_told_to_fail():
    registry.register("olympus", "sendgrid", {"api_key": "SG.thunderbolt"}, by="zeus")

    assert _run("sandbox", "set", "olympus", "hang") == (
        2,
        "'olympus' is no sandbox: only a sandbox account can be told to fail.",
    )


def test_a_dry_run_of_the_sandbox_changes_nothing():
    _run("sandbox", "set", "sandbox-a", "hang")

    assert _run("sandbox", "set", "sandbox-a", "lose", "--dry-run")[1].startswith("Would tell sandbox-a")
    assert _run("sandbox", "clear", "--dry-run")[1].startswith("Would tell to behave")
    assert SandboxFault.objects.get().kind == "hang"
