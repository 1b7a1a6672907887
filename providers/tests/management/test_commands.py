"""`manage.py providers` and `manage.py sandbox`, as a person would run them."""

import io
import json

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from providers.accounts import registration, registry
from providers.accounts.options import get_options
from providers.kinds.catalog import KINDS
from providers.models import Account, Breaker, BreakerChange, FailureMode
from providers.sandbox import mailbox

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def served_once():
    """Accounts as a server finds or makes them when it starts."""
    registry.load_candidates()


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
    for words in ("sandbox-a", "sandbox-b", "default", "active", "closed", "no recent errors"):
        assert words in text


def test_the_list_as_json_is_one_account_a_line():
    registration.register("olympus", "sendgrid", {"api_key": "SG.thunderbolt"}, rate=0.5, by="zeus")

    rows = _json("providers", "list")

    assert [(row["name"], row["state"], row["rate"]) for row in rows] == [
        ("olympus", "active", "0.5/s"),
    ] + ([(row["name"], "disabled", "") for row in rows[1:]])
    assert "thunderbolt" not in json.dumps(rows)


def test_the_kinds_say_what_they_can_carry():
    code, text = _run("providers", "kinds")
    rows = {row["kind"]: row for row in _json("providers", "kinds")}

    assert code == 0
    assert (
        "SMTP (smtp), docs/providers/smtp.md\n  URL      smtp://…, smtps://…\n  Options  host (required), port" in text
    )
    assert "  Regions  us, eu\n  Options  api_key (required, secret), api_url" in text
    assert "  Cannot   carry tags or metadata\n           report" in text
    assert list(rows) == list(KINDS)
    assert tuple(rows["sandbox"]["cannot"]) == KINDS["sandbox"].capabilities.cannot


def test_an_account_that_lacks_its_variable_is_said_so(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox:"}
    registry.load_candidates()
    settings.MERCURY_ENVIRONMENT = {}

    assert "missing credentials" in _run("providers", "list")[1]


def test_a_test_mail_goes_straight_through():
    code, text = _run("providers", "test", "sandbox-a", "--to", "hera@olimpus.com", "--from", "zeus@olimpus.com")

    assert code == 0
    assert "sandbox-a accepted it" in text
    (kept,) = mailbox.load_page("sandbox-a").mails
    assert (kept.sender, kept.to, kept.subject) == ("zeus@olimpus.com", "hera@olimpus.com", "Test email from Mercury")


def test_a_test_that_is_refused_fails_and_says_why():
    _run("sandbox", "set", "sandbox-a", "refuse=401")

    code, text = _run("providers", "test", "sandbox-a")

    assert code == 1
    assert "Account error, http-401" in text


def test_a_test_whose_outcome_nobody_knows_says_so():
    _run("sandbox", "set", "sandbox-a", "lose")

    (document,) = _json("providers", "test", "sandbox-a")

    assert document["outcome"] == "unknown"
    assert document["words"].startswith("sandbox-a did not confirm it; it may have been sent")


def test_a_test_through_a_real_account_needs_an_address():
    registration.register("olympus", "sendgrid", {"api_key": "SG.thunderbolt"}, by="zeus")

    code, text = _run("providers", "test", "olympus")

    assert (code, text) == (2, "Specify the recipient of the test email: --to you@example.com.")


def test_a_breaker_is_forced_and_given_back():
    code, _ = _run("providers", "breaker", "sandbox-a", "open", "--yes", "--note", "the bill is unpaid")

    assert code == 0
    assert Breaker.objects.get(account__name="sandbox-a").mode == "open"
    change = BreakerChange.objects.first()
    assert change is not None
    assert (change.by, change.what) == ("command line", "forced open, “the bill is unpaid”")
    assert "Forced open" in _run("providers", "list")[1]
    assert _run("providers", "breaker", "sandbox-a", "auto")[0] == 0
    assert Breaker.objects.get(account__name="sandbox-a").mode == "auto"


def test_an_account_is_disabled_and_enabled():
    assert _run("providers", "disable", "sandbox-a", "--yes", "--note", "the bill is unpaid")[0] == 0
    assert BreakerChange.objects.latest("id").what == "disabled, “the bill is unpaid”"
    assert not Account.objects.get(name="sandbox-a").enabled
    assert _json("providers", "enable", "sandbox-a") == [{"account": "sandbox-a", "enabled": True, "changed": True}]
    assert Account.objects.get(name="sandbox-a").enabled


@pytest.mark.parametrize("words", [("breaker", "sandbox-a", "open"), ("disable", "sandbox-a")])
def test_what_stops_mail_asks_first(words):
    code, text = _run("providers", *words)

    assert code == 2
    assert "use --yes to confirm" in text
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
    assert mailbox.load_page("sandbox-a").mails == []


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
    assert "No account 'nobody'" in text
    assert "sandbox-a" in text


def test_a_failure_mode_is_set_shown_and_cleared():
    assert _run("sandbox", "set", "sandbox-a", "slow=3", "--for", "5m")[1] == "sandbox-a simulates slow=3 for 5 min.\n"
    assert [(row["account"], row["failure_mode"]) for row in _json("sandbox", "list")] == [
        ("sandbox-a", "slow=3"),
        ("sandbox-b", "none"),
    ]
    assert _run("sandbox", "clear", "sandbox-a")[0] == 0
    assert not FailureMode.objects.exists()


def test_without_a_word_the_sandbox_is_shown():
    mailbox.store("sandbox-b", b"Subject: hi\n\nhi")

    code, text = _run("sandbox")

    assert code == 0
    assert "sandbox-b" in text


def test_clearing_all_clears_all():
    _run("sandbox", "set", "sandbox-a", "hang")
    _run("sandbox", "set", "sandbox-b", "lose")

    _run("sandbox", "clear")

    assert not FailureMode.objects.exists()


@pytest.mark.parametrize("fault", ["quick", "slow=-3", "refuse=200"])
def test_an_unknown_failure_mode_is_wrong_use(fault):
    assert _run("sandbox", "set", "sandbox-a", fault)[0] == 2


def test_a_real_account_cannot_be_set_to_fail():
    registration.register("olympus", "sendgrid", {"api_key": "SG.thunderbolt"}, by="zeus")

    assert _run("sandbox", "set", "olympus", "hang") == (
        2,
        "'olympus' is not a sandbox: only a sandbox account can simulate a failure.",
    )


def test_a_dry_run_of_the_sandbox_changes_nothing():
    _run("sandbox", "set", "sandbox-a", "hang")

    assert _run("sandbox", "set", "sandbox-a", "lose", "--dry-run")[1].startswith("Would simulate lose on sandbox-a")
    assert _run("sandbox", "clear", "--dry-run")[1].startswith("Would clear the failure mode of")
    assert FailureMode.objects.get().kind == "hang"


READING = [
    ("providers", "list"),
    ("providers", "test", "hades"),
    ("providers", "test", "sandbox-a"),
    ("sandbox", "list"),
    ("stats",),
    ("mails",),
]


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_reading_command_with_a_variable_of_its_own_writes_nothing(words, settings):
    before = list(Account.objects.values())
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox:"}

    code, text = _run(*words)

    assert (code, list(Account.objects.values())) == (0, before), text


@pytest.mark.parametrize("words", [("providers", "list"), ("stats",), ("mails",), ("sandbox", "list")], ids=" ".join)
def test_a_reading_command_makes_no_account_where_there_is_none(words):
    Account.objects.all().delete()

    assert _run(*words)[0] == 0
    assert not Account.objects.exists()


def test_an_account_of_this_terminal_alone_is_shown_as_not_stored(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox:"}

    row = next(row for row in _json("providers", "list") if row["name"] == "hades")

    assert (row["source"], row["state"]) == ("this terminal", "not stored")
    code, text = _run("providers", "enable", "hades")
    assert (code, text) == (2, "'hades' is known only in this terminal. Store it first: manage.py providers add hades")
    assert "To store it: manage.py providers add hades" in _run("providers", "test", "hades")[1]


def test_an_account_is_added_from_this_terminals_variable_and_removed_again(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sendgrid://:SG.thunderbolt@?region=eu&weight=3"}

    code, text = _run("providers", "add", "hades")

    assert code == 0
    assert "The default sandbox accounts are no longer used." in text
    stored = Account.objects.get(name="hades")
    assert (stored.source, stored.weight) == ("database", 3)
    assert get_options(stored)["api_key"] == "SG.thunderbolt"
    settings.MERCURY_ENVIRONMENT = {}
    assert [candidate.config.name for candidate in registry.load_candidates() if candidate.enabled] == ["hades"]

    code, text = _run("providers", "remove", "hades", "--yes")

    assert code == 0
    assert not Account.objects.filter(name="hades").exists()
    assert "No account is available: email is queued." in text
    assert _run("providers", "enable", "sandbox-a")[0] == 0
    assert [candidate.config.name for candidate in registry.load_candidates() if candidate.enabled] == ["sandbox-a"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("hades",), "Specify its URL, or set PROVIDER_HADES in this terminal."),
        (("hades", "pigeon://x"), "unknown scheme 'pigeon'"),
        (("hades", "sendgrid://"), "PROVIDER_HADES"),
        (("sandbox-a", "sandbox:"), "'sandbox-a' is already used"),
    ],
)
def test_what_is_no_account_is_not_added(words, said):
    before = Account.objects.count()

    code, text = _run("providers", "add", *words)

    assert code == 2
    assert said in text
    assert Account.objects.count() == before


def test_an_account_from_standard_input_is_added(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("sandbox:\n"))

    assert _run("providers", "add", "hades", "-")[0] == 0
    assert Account.objects.filter(name="hades", kind="sandbox").exists()


def test_enabling_a_default_sandbox_that_others_keep_out_of_use_is_refused():
    _run("providers", "disable", "sandbox-a", "--yes")
    registration.register("olympus", "sandbox", {}, by="zeus")

    code, text = _run("providers", "enable", "sandbox-a")

    assert code == 2
    assert "is used only while no other account exists" in text
    assert not Account.objects.get(name="sandbox-a").enabled


def test_what_still_stops_an_enabled_account_is_said():
    registration.register("olympus", "sandbox", {}, weight=0, by="zeus")
    _run("providers", "breaker", "olympus", "open", "--yes")

    _, text = _run("providers", "enable", "olympus")

    assert "olympus is enabled already." in text
    assert "its breaker is forced open" in text
    assert "olympus has the weight 0" in text


def test_a_removed_account_of_the_environment_is_said_to_come_back(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox:"}
    registry.load_candidates()

    _, text = _run("providers", "remove", "hades", "--yes")

    assert "hades is deleted. Servers and workers that still have PROVIDER_HADES will add it again" in text
    assert not Account.objects.filter(name="hades").exists()
    assert "hades" in [
        candidate.config.name for candidate in registry.load_candidates()
    ]  # this process serves, with the variable


def test_a_failure_mode_of_a_sandbox_out_of_use_is_said_to_be_without_effect():
    registration.register("olympus", "sandbox", {}, by="zeus")

    assert "other accounts exist" in _run("sandbox", "set", "sandbox-a", "hang")[1]


def test_a_default_sandbox_is_not_removed_and_a_dry_run_says_so():
    for options in (["--yes"], ["--dry-run"]):
        code, text = _run("providers", "remove", "sandbox-a", *options)

        assert code == 2
        assert "exists because no other account does" in text


def test_quotas_are_changed_shown_and_warned_of():
    code, text = _run("providers", "quota", "sandbox-a", "--daily", "500", "--monthly", "100", "--spread", "on")

    assert code == 0
    assert "daily quota      500" in text
    assert "The daily quota 500 is larger than the monthly quota 100" in text
    account = Account.objects.get(name="sandbox-a")
    assert (account.daily_quota, account.monthly_quota, account.quota_spread) == (500, 100, True)
    [row] = [row for row in _json("providers", "list") if row["name"] == "sandbox-a"]
    assert row["quota"].endswith("today, 0 of 100 this month")

    assert _run("providers", "quota", "sandbox-a", "--daily", "none")[0] == 0
    assert Account.objects.get(name="sandbox-a").daily_quota is None


def test_a_dry_run_of_quotas_changes_nothing():
    assert "Would be the quotas" in _run("providers", "quota", "sandbox-a", "--daily", "500", "--dry-run")[1]
    assert Account.objects.get(name="sandbox-a").daily_quota is None


def test_a_quota_of_zero_is_refused_with_a_remedy():
    code, text = _run("providers", "quota", "sandbox-a", "--daily", "0")

    assert code == 2
    assert "disable it or give it the weight 0" in text


def test_an_account_out_of_quota_is_opened_again():
    now = timezone.now()
    Breaker.objects.filter(account__name="sandbox-a").update(out_of_quota_since=now, out_of_quota_reason="No credits.")

    assert "Would open sandbox-a." in _run("providers", "open", "sandbox-a", "--dry-run")[1]
    assert "Opened sandbox-a." in _run("providers", "open", "sandbox-a", "--note", "bought")[1]

    assert Breaker.objects.get(account__name="sandbox-a").out_of_quota_since is None
    assert "nothing to open" in _run("providers", "open", "sandbox-a")[1]
