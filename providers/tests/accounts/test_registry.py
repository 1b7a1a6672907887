"""The accounts of the instance."""

import datetime as dt

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.utils import timezone

from providers.accounts import registration, registry, sandboxes
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.accounts.options import get_options, list_shown_options
from providers.models import Account, AccountSource, Breaker, BreakerChange
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure
from providers.tests.support import certificates

pytestmark = pytest.mark.django_db
KEY = "SG.thunderbolt-4fA"
RELAY = {"host": "mail.olimpus.example", "username": "zeus", "password": "a-thunderbolt"}


def _by_name():
    return {candidate.config.name: candidate for candidate in registry.load_candidates()}


def _olympus(**changes):
    return registration.register("olympus", "sendgrid", {"api_key": KEY}, by="zeus", **changes)


def test_two_sandboxes_replace_missing_accounts():
    candidates = _by_name()

    assert sorted(candidates) == ["sandbox-a", "sandbox-b"]
    assert all(
        candidate.enabled and candidate.configured and candidate.config.kind == "sandbox"
        for candidate in candidates.values()
    )
    assert Breaker.objects.count() == 2


def test_default_sandboxes_step_back_for_a_real_account():
    registry.load_candidates()
    _olympus()

    candidates = _by_name()

    assert [name for name, candidate in candidates.items() if candidate.enabled] == ["olympus"]
    assert registry.is_used(Account.objects.get(name="olympus"))
    assert not registry.is_used(Account.objects.get(name="sandbox-a"))


@pytest.mark.parametrize("seen_before", [True, False])
def test_default_sandboxes_do_not_swallow_mail_when_the_last_account_is_removed(seen_before):
    if seen_before:
        registry.load_candidates()
    registration.remove(_olympus())

    assert [(candidate.config.name, candidate.enabled) for candidate in registry.load_candidates()] == [
        ("sandbox-a", False),
        ("sandbox-b", False),
    ]


def test_accounts_of_the_environment_get_a_row_and_keep_their_options_there(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": f"sendgrid://:{KEY}@?weight=2&rate=14/s&trust_500=1"}

    hades = _by_name()["hades"]

    row = Account.objects.get(name="hades")
    assert (row.source, row.secret_options) == (AccountSource.ENVIRONMENT, "")
    assert hades.config.options["api_key"] == KEY
    assert (hades.config.weight, hades.config.rate, hades.config.trust_500) == (2, 14, True)
    assert list(_by_name()) == ["hades"]


def test_an_account_whose_variable_is_gone_is_not_configured(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox:"}
    registry.load_candidates()

    settings.MERCURY_ENVIRONMENT = {}
    (hades,) = registry.load_candidates()

    assert not hades.configured
    registration.remove(Account.objects.get(name="hades"))
    assert "hades" not in _by_name()


def test_a_weight_that_people_set_outlives_a_restart(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox://?weight=2"}
    registry.load_candidates()
    registration.update(Account.objects.get(name="hades"), weight=7, by="zeus")

    registry.sync()

    assert _by_name()["hades"].config.weight == 7


def test_the_kind_of_an_account_follows_the_environment(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox:"}
    registry.load_candidates()

    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": f"sendgrid://:{KEY}@"}

    hades = _by_name()["hades"].config
    assert (hades.kind, hades.options["api_key"]) == ("sendgrid", KEY)


def test_a_default_sandbox_gives_its_name_to_the_environment(settings):
    registry.load_candidates()

    settings.MERCURY_ENVIRONMENT = {"PROVIDER_SANDBOX_A": "sandbox://?weight=2"}

    candidates = _by_name()
    assert [name for name, candidate in candidates.items() if candidate.enabled and candidate.configured] == [
        "sandbox-a"
    ]
    assert Account.objects.get(name="sandbox-a").source == AccountSource.ENVIRONMENT


def test_a_name_that_the_database_has_stays_with_it(settings):
    _olympus()
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_OLYMPUS": "sandbox:"}

    registry.sync()

    assert _by_name()["olympus"].config.kind == "sendgrid"


def test_an_error_in_the_environment_is_said(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "pigeon://"}

    with pytest.raises(ImproperlyConfigured, match="PROVIDER_HADES"):
        registry.load_candidates()


def test_syncing_again_changes_nothing():
    registry.sync()
    before = list(Account.objects.values())

    registry.sync()

    assert list(Account.objects.values()) == before


def test_candidates_cost_one_query(django_assert_num_queries):
    _olympus()
    registry.load_candidates()

    with django_assert_num_queries(1):
        registry.load_candidates()


def test_options_are_decrypted_once_for_each_state_of_a_row(monkeypatch):
    account = _olympus()
    registry.load_candidates()
    monkeypatch.setattr("mercury.lib.encryption.decrypt", lambda token: pytest.fail("decrypted again"))

    registry.load_candidates()

    monkeypatch.undo()
    registration.update(account, options={"api_key": "SG.another-one-8xB"}, by="zeus")
    assert _by_name()["olympus"].config.options["api_key"] == "SG.another-one-8xB"


def test_options_are_encrypted_and_shown_without_the_secret():
    account = _olympus()

    assert KEY not in account.secret_options
    shown = {option.name: option.value for option in list_shown_options(account)}
    assert shown == {
        "api_key": "set, ends …4fA",
        "api_url": "https://api.sendgrid.com/v3/",
        "max_connections": "",
        "ca": "",
    }


def test_a_short_secret_shows_nothing_of_itself():
    account = registration.register(
        "hades", "smtp", {"host": "mail.olimpus.invalid", "username": "zeus", "password": "short"}, by="zeus"
    )

    assert {option.name: option.value for option in list_shown_options(account)}["password"] == "set"


def test_options_whose_key_is_lost_make_an_account_not_configured(settings):
    _olympus()
    Account.objects.update(updated_at=timezone.now())  # as another process would see it for the first time
    settings.SECRET_KEY = "another"

    assert not _by_name()["olympus"].configured


@pytest.mark.parametrize(
    ("name", "kind", "options", "numbers", "field"),
    [
        ("Olympus", "sandbox", {}, {}, "name"),
        ("a" * 65, "sandbox", {}, {}, "name"),
        ("a--b", "sandbox", {}, {}, "name"),
        ("../a", "sandbox", {}, {}, "name"),
        ("sandbox-a", "sandbox", {}, {}, "name"),
        ("olympus", "pigeon", {}, {}, "kind"),
        ("olympus", "sendgrid", {}, {}, "options.api_key"),
        ("olympus", "sendgrid", {"api_key": KEY, "api_url": "http://127.0.0.1/"}, {}, "options.api_url"),
        ("olympus", "sendgrid", {"api_key": KEY, "api_url": "https://localhost/"}, {}, "options.api_url"),
        (
            "olympus",
            "sendgrid",
            {"api_key": KEY, "api_url": "https://\U0001fbf1\U0001fbf2\U0001fbf7.0.0.1/"},
            {},
            "options.api_url",
        ),
        ("olympus", "smtp", {"host": "169.254.169.254"}, {}, "options.host"),
        ("olympus", "sandbox", {}, {"weight": -1}, "weight"),
        ("olympus", "sandbox", {}, {"weight": 10_001}, "weight"),
        ("olympus", "sandbox", {}, {"priority": 0}, "priority"),
        ("olympus", "sandbox", {}, {"priority": 101}, "priority"),
        ("olympus", "sandbox", {}, {"rate": 0}, "rate"),
        ("olympus", "sandbox", {}, {"rate": float("nan")}, "rate"),
        ("olympus", "sandbox", {}, {"rate": float("inf")}, "rate"),
    ],
)
def test_what_makes_no_account_names_the_field(name, kind, options, numbers, field):
    with pytest.raises(AccountInvalid) as caught:
        registration.register(name, kind, options, by="zeus", **numbers)

    assert list(caught.value.errors) == [field]
    assert not Account.objects.exists()


def test_all_errors_are_named_at_once():
    with pytest.raises(AccountInvalid) as caught:
        registration.register("Olympus", "sendgrid", {}, weight=-1, rate=-1, by="zeus")

    assert sorted(caught.value.errors) == ["name", "options.api_key", "rate", "weight"]


def test_a_private_host_may_be_allowed(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    registration.register("hades", "smtp", {"host": "127.0.0.1"}, by="zeus")

    assert _by_name()["hades"].config.options["port"] == 587


def test_a_name_is_given_once():
    _olympus()

    with pytest.raises(AccountInvalid, match="exists already"):
        _olympus()


def test_a_process_of_the_version_before_still_writes_history_while_two_versions_run():
    account = _olympus()
    with connection.cursor() as cursor:
        cursor.execute(
            'INSERT INTO providers_breakerchange (account_id, created_at, "by", what, state) VALUES (%s, %s, %s, %s, %s)',
            [account.pk, timezone.now(), "worker", "opened", "open"],
        )

    assert BreakerChange.objects.get(what="opened").account_name == ""


def test_changes_leave_a_line_of_history_without_secrets():
    account = _olympus()

    registration.update(
        account, weight=3, priority=2, rate=2.5, enabled=False, options={"api_key": "SG.another-one"}, by="hera"
    )

    first, last = BreakerChange.objects.order_by("id")
    assert (first.what, first.by) == ("registered", "zeus")
    assert last.by == "hera"
    assert last.what == "weight 1 → 3, priority 1 → 2, limit none → 2.5 /s, disabled, new options"


def test_nothing_changed_is_nothing_recorded():
    account = _olympus()

    registration.update(account, weight=1, options={"api_key": "set, ends …4fA"}, by="hera")

    assert BreakerChange.objects.count() == 1
    assert _by_name()["olympus"].config.options["api_key"] == KEY


def test_a_limit_can_be_removed():
    account = _olympus(rate=5.0)

    assert registration.update(account, no_rate=True, by="zeus").rate is None


def test_a_wrong_change_changes_nothing():
    account = _olympus()

    with pytest.raises(AccountInvalid) as caught:
        registration.update(account, weight=-1, options={"api_url": "http://10.0.0.1/", "api_key": KEY}, by="zeus")

    assert sorted(caught.value.errors) == ["options.api_url", "weight"]
    assert _by_name()["olympus"].config.weight == 1


def test_options_of_the_environment_are_changed_there(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": f"sendgrid://:{KEY}@"}
    registry.load_candidates()
    hades = Account.objects.get(name="hades")

    with pytest.raises(AccountChangeNotAllowed, match="come from the environment"):
        registration.update(hades, options={"api_key": "SG.other"}, by="zeus")
    with pytest.raises(AccountChangeNotAllowed, match="Remove its variable"):
        registration.remove(hades)
    registration.update(hades, weight=0, enabled=False, by="zeus")

    assert not _by_name()["hades"].enabled


def test_a_default_sandbox_has_no_options_and_stays():
    registry.load_candidates()
    sandbox = Account.objects.get(name="sandbox-a")

    with pytest.raises(AccountChangeNotAllowed):
        registration.update(sandbox, options={"x": "y"}, by="zeus")
    with pytest.raises(AccountChangeNotAllowed):
        registration.remove(sandbox)


def test_only_a_sandbox_can_be_set_to_fail():
    with pytest.raises(AccountChangeNotAllowed, match="not a sandbox"):
        sandboxes.set_failure_mode(_olympus(), None)


def test_a_failure_mode_reaches_the_sending_side_and_ends():
    registry.load_candidates()
    sandbox = Account.objects.get(name="sandbox-a")
    failure_mode = SimulatedFailure(kind=FailureKind.SLOW, value=3, until=timezone.now() + dt.timedelta(minutes=1))

    sandboxes.set_failure_mode(sandbox, failure_mode)

    assert _by_name()["sandbox-a"].config.options["failure_mode"] == failure_mode
    assert sandboxes.get_failure_mode(sandbox) == failure_mode
    sandboxes.set_failure_mode(sandbox, None)
    assert "failure_mode" not in _by_name()["sandbox-a"].config.options
    assert sandboxes.get_failure_mode(sandbox) is None


@pytest.mark.django_db
def test_a_stored_secret_goes_to_no_other_address_unless_it_is_entered_again():
    account = registration.register("olympus", "sendgrid", {"api_key": KEY}, by="zeus")
    elsewhere = {"api_url": "https://example.org/v3/"}

    with pytest.raises(AccountInvalid) as caught:
        registration.update(account, options=elsewhere, by="iris")
    assert list(caught.value.errors) == ["options.api_key"]

    registration.update(account, options={**elsewhere, "api_key": KEY}, by="zeus")
    assert get_options(account)["api_url"] == elsewhere["api_url"]


@pytest.mark.parametrize(
    "change",
    [
        {"host": "mail.hades.example"},
        {"host": "None"},
        {"host": "mail.hades.example", "password": "set, ends …olt"},
        {"port": 2525},
        {"security": "tls"},
    ],
)
def test_a_stored_password_is_asked_for_again_when_the_server_changes(change):
    account = registration.register("hades", "smtp", RELAY, by="zeus")

    with pytest.raises(AccountInvalid) as caught:
        registration.update(account, options=change, by="iris")

    assert list(caught.value.errors) == ["options.password"]
    assert "enter it again" in caught.value.errors["options.password"]
    assert get_options(account)["host"] == RELAY["host"]


@pytest.mark.parametrize(
    "change",
    [
        {"port": "587"},
        {"port": ""},
        {"username": "hera"},
        {"host": "mail.hades.example", "password": "a-new-thunderbolt"},
        {"host": "mail.hades.example", "username": "", "password": ""},
    ],
)
def test_a_server_that_stays_or_a_password_that_goes_asks_for_nothing(change):
    account = registration.register("hades", "smtp", RELAY, by="zeus")

    registration.update(account, options=change, by="zeus")

    assert get_options(account)["host"] == change.get("host", RELAY["host"])


def test_a_stored_key_may_move_among_the_regions_of_its_provider():
    account = registration.register("olympus", "sendgrid", {"api_key": KEY}, by="zeus")

    registration.update(account, options={"api_url": "https://api.eu.sendgrid.com/v3/"}, by="zeus")
    registration.update(account, options={"api_url": ""}, by="zeus")

    assert get_options(account) == {
        "api_key": KEY,
        "api_url": "https://api.sendgrid.com/v3/",
        "max_connections": None,
    }


def test_a_plain_address_may_be_allowed(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    account = registration.register(
        "olympus", "sendgrid", {"api_key": KEY, "api_url": "http://127.0.0.1:8025/"}, by="zeus"
    )

    assert get_options(account)["api_url"] == "http://127.0.0.1:8025/"


def test_a_password_goes_without_tls_to_listed_hosts_only(settings):
    options = {"host": "mail.olimpus.invalid", "username": "zeus", "password": "thunder", "security": "none"}

    with pytest.raises(AccountInvalid, match="Without TLS others can read the password"):
        registration.register("hades", "smtp", options, by="zeus")
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["Mail.Olimpus.invalid"]
    account = registration.register("hades", "smtp", options, by="zeus")

    assert get_options(account)["security"] == "none"


def test_a_relay_without_a_password_needs_no_tls():
    registration.register("hades", "smtp", {"host": "mail.olimpus.invalid", "security": "none"}, by="zeus")


def test_another_authority_asks_for_the_password_again(tmp_path):
    ca, _ = certificates.with_authority(tmp_path)
    account = registration.register("hades", "smtp", RELAY, by="zeus")

    with pytest.raises(AccountInvalid, match="enter it again"):
        registration.update(account, options={"ca": ca}, by="iris")
    registration.update(account, options={"ca": ca, "password": "thunderbolt"}, by="zeus")

    with pytest.raises(AccountInvalid, match="enter it again"):
        registration.update(account, options={"ca": ""}, by="iris")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "address",
    [
        "http://example.org/",
        "HTTP://example.org/",
        "https://localhost./",
        "https://a b/",
        "https://..x/",
        "https://x:0/",
        "https://localhost%00.x/",
        f"https://{'x' * 300}/",
        "https://[::7f00:1]/",
        "https://[fec0::1]/",
        "https://[64:ff9b:1::7f00:1]/",
        "https://[::ffff:0:7f00:1]/",
    ],
)
def test_an_address_that_nobody_should_call_is_refused(address):
    with pytest.raises(AccountInvalid) as caught:
        registration.register("olympus", "sendgrid", {"api_key": KEY, "api_url": address}, by="zeus")

    assert list(caught.value.errors) == ["options.api_url"]


@pytest.mark.django_db
@pytest.mark.parametrize("rate", [5e-324, 1e-300, 1e-6, 0, -1, 1e9, float("inf"), float("nan")])
def test_a_rate_beyond_reason_is_refused(rate):
    with pytest.raises(AccountInvalid) as caught:
        registration.register("olympus", "sandbox", {}, rate=rate, by="zeus")

    assert list(caught.value.errors) == ["rate"]
