import datetime as dt
import importlib.util
import sqlite3

import pytest
from cryptography.fernet import Fernet
from django.core.exceptions import ImproperlyConfigured
from django.db import OperationalError, connection
from django.utils import timezone

from mails.events.webhooks import operations as webhooks
from mails.maintenance import webhook_secrets
from mails.models import Worker
from mails.tests.callers import caller
from mercury import checks
from providers.accounts import registration, secrets
from providers.models import Account


def ids(messages):
    return [message.id for message in messages]


@pytest.fixture
def a_real_installation(settings):
    settings.SECRET_KEY = "x" * 50
    settings.MERCURY_SECRET_IS_GENERATED = False
    settings.DEBUG = False
    settings.ALLOWED_HOSTS = ["mail.example.com"]
    settings.MERCURY_HTTPS = True
    settings.REDIS_URL = ""
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_RELAY": "smtp://zeus:thunder@smtp.example.com:587"}
    return settings


def test_a_misspelt_name_is_named_with_the_right_one(settings):
    settings.MERCURY_ENVIRONMENT = {
        "MERCURY_DELIVERY_GARANTEE": "at-most-once",
        "MERCURY_DELIVERY_GUARANTEE": "at-most-once",
    }

    [warning] = checks.check_names()

    assert (warning.id, warning.msg.split()[0], warning.hint) == (
        "mercury.W001",
        "MERCURY_DELIVERY_GARANTEE",
        "Did you mean MERCURY_DELIVERY_GUARANTEE?",
    )


def test_the_defaults_are_sound(settings):
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
    settings.DEBUG = False

    assert [*checks.check_values(), *checks.check_database(), *checks.check_accounts(), *checks.check_hosts()] == []


def test_a_lease_must_outlast_a_call(settings):
    settings.MERCURY_SEND_TIMEOUT = dt.timedelta(seconds=20)
    settings.MERCURY_LEASE = dt.timedelta(seconds=49)

    assert ids(checks.check_values()) == ["mercury.E001"]


def test_an_unknown_policy_is_named_with_the_known_ones(settings):
    settings.MERCURY_DELIVERY_GUARANTEE = "exactly-once"

    [error] = checks.check_values()

    assert error.id == "mercury.E002"
    assert "at-least-once" in error.hint


def test_connecting_ends_within_the_call(settings):
    settings.MERCURY_CONNECT_TIMEOUT = dt.timedelta(seconds=21)
    settings.MERCURY_SEND_TIMEOUT = dt.timedelta(seconds=20)

    [error] = checks.check_values()

    assert error.id == "mercury.E009"
    assert "MERCURY_CONNECT_TIMEOUT (21 s)" in error.msg


def test_an_old_sqlite_is_refused(monkeypatch):
    monkeypatch.setattr(connection, "vendor", "sqlite")
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    assert ids(checks.check_database()) == ["mercury.E004"]


def test_a_second_driver_is_worth_a_warning(monkeypatch):
    monkeypatch.setattr(connection, "vendor", "postgresql")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if name == "psycopg" else None)

    assert ids(checks.check_database()) == ["mercury.W002"]


def test_an_account_that_cannot_be_read_is_an_error(settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_RELAY": "pigeon://smtp.example.com"}

    [error] = checks.check_accounts()

    assert error.id == "mercury.E005"
    assert "PROVIDER_RELAY" in error.msg


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("pigeon://coop", "not the URL of a sink"),
        ("redis:", "there is no REDIS_URL"),
        ("kafka://broker:9092", "no topic"),
        ("kafka://user:secret@broker:9092/events?security=rot13", "security is none of"),
        ("kinesis://", "names no stream"),
        ("file://host/events.jsonl", "names no file"),
        ("file:///events.jsonl?colour=red", "unknown option: colour"),
        ("file:///events.jsonl?addresses=maybe", "neither true nor false"),
    ],
)
def test_a_stream_that_cannot_be_read_is_an_error_that_shows_no_secret(settings, url, problem):
    settings.MERCURY_ENVIRONMENT = {"EVENT_SINK_FIRST": url}
    settings.REDIS_URL = ""

    [error] = checks.check_sinks()

    assert error.id == "mercury.E012"
    assert error.msg.startswith("EVENT_SINK_FIRST: ")
    assert problem in error.msg
    assert "secret" not in error.msg


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("file:///emails?key=abc", "not the URL of a stream"),
        ("redis:", "not the prefix of an API key"),
        ("redis:?key=mk_abc_secret", "not the prefix of an API key"),
        ("redis:?key=abc", "there is no REDIS_URL"),
        ("redis://secret@host/0?key=abc&stream=a&rejected=a", "must be another stream"),
        ("kafka://broker:9092?key=abc", "no topic"),
        ("kinesis://emails?key=abc&group=mercury", "unknown option: group"),
    ],
)
def test_a_stream_of_submissions_that_cannot_be_read_is_an_error_that_shows_no_secret(settings, url, problem):
    settings.MERCURY_ENVIRONMENT = {"SUBMISSION_STREAM_SHOP": url}
    settings.REDIS_URL = ""

    [error] = checks.check_submission_streams()

    assert error.id == "mercury.E013"
    assert error.msg.startswith("SUBMISSION_STREAM_SHOP: ")
    assert problem in error.msg
    assert "secret" not in error.msg


@pytest.mark.django_db
def test_a_real_installation_is_silent(a_real_installation):
    assert [*checks.check_hosts(), *checks.check_production(), *checks.check_accounts_in_use()] == []


def test_a_secret_that_can_be_guessed_does_not_start_where_strangers_are(a_real_installation):
    a_real_installation.ALLOWED_HOSTS = ["mail.example.com"]
    a_real_installation.SECRET_KEY = "…"

    [error] = checks.check_hosts()
    a_real_installation.ALLOWED_HOSTS = ["localhost"]

    assert (error.id, "has only 1 characters" in error.msg) == ("mercury.E014", True)
    assert checks.check_hosts() == []


@pytest.mark.parametrize("hosts", [["mail.example.com"], ["10.0.0.5"], ["*"], ["localhost", ".example.com"]])
def test_strangers_meet_no_made_secret_and_no_debug(a_real_installation, hosts):
    a_real_installation.ALLOWED_HOSTS = hosts
    a_real_installation.MERCURY_SECRET_IS_GENERATED = True
    a_real_installation.DEBUG = True

    assert ids(checks.check_hosts()) == ["mercury.E006", "mercury.E007"]
    with pytest.raises(ImproperlyConfigured, match="SECRET_KEY"):
        checks.refuse_start()


def test_on_loopback_a_made_secret_is_enough(settings):
    settings.MERCURY_SECRET_IS_GENERATED = True
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

    checks.refuse_start(["127.0.0.1:8000", "[::1]:8000", "unix:/run/mercury"])


def test_a_server_that_listens_to_all_needs_a_secret(settings):
    settings.MERCURY_SECRET_IS_GENERATED = True
    settings.ALLOWED_HOSTS = ["localhost"]

    with pytest.raises(ImproperlyConfigured, match=r"0\.0\.0\.0:8000"):
        checks.refuse_start(["0.0.0.0:8000"])


def test_no_server_starts_with_what_cannot_work(settings):
    settings.MERCURY_DELIVERY_GUARANTEE = "exactly-once"
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_RELAY": "pigeon://smtp.example.com"}

    with pytest.raises(
        ImproperlyConfigured, match=r"MERCURY_DELIVERY_GUARANTEE.*Known: at-least-once.*\nPROVIDER_RELAY"
    ):
        checks.refuse_start()


def test_a_deployment_without_https_or_with_sqlite_and_redis_is_warned_of(a_real_installation, monkeypatch):
    a_real_installation.MERCURY_HTTPS = False
    a_real_installation.REDIS_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setattr(connection, "vendor", "sqlite")

    assert ids(checks.check_production()) == ["mercury.W003", "mercury.W004"]


@pytest.mark.django_db
def test_a_deployment_without_an_account_is_warned_of_until_one_is_stored(a_real_installation):
    a_real_installation.MERCURY_ENVIRONMENT = {}
    before = ids(checks.check_accounts_in_use())

    Account.objects.create(name="relay", kind="smtp")

    assert (before, ids(checks.check_accounts_in_use())) == (["mercury.W005"], [])


@pytest.mark.django_db
def test_the_default_sandboxes_are_no_accounts(a_real_installation):
    a_real_installation.MERCURY_ENVIRONMENT = {}
    Account.objects.create(name="sandbox-a", kind="sandbox", source="default")

    assert ids(checks.check_accounts_in_use()) == ["mercury.W005"]


@pytest.mark.django_db
def test_default_sandboxes_that_are_all_out_of_use_accept_no_mail(a_real_installation):
    a_real_installation.MERCURY_ENVIRONMENT = {}
    Account.objects.create(name="sandbox-a", kind="sandbox", source="default", enabled=False)
    Account.objects.create(name="sandbox-b", kind="sandbox", source="default", weight=0)

    [warning] = checks.check_accounts_in_use()

    assert (warning.id, "PROVIDER_<NAME>" in warning.hint) == ("mercury.W006", True)


@pytest.mark.django_db
@pytest.mark.parametrize("change", [{"enabled": False}, {"weight": 0}])
def test_a_deployment_whose_accounts_are_all_out_of_use_is_warned_of(a_real_installation, change):
    Account.objects.create(name="relay", kind="smtp", source="environment", **change)

    assert ids(checks.check_accounts_in_use()) == ["mercury.W006"]


@pytest.mark.django_db
def test_a_sandbox_in_production_is_named(a_real_installation, olympus):
    [with_others] = checks.check_accounts_in_use()

    a_real_installation.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": "sandbox://"}
    [alone] = checks.check_accounts_in_use()

    assert [with_others.id, alone.id] == ["mercury.W007", "mercury.W007"]
    assert "(olympus): email that they get counts as sent" in with_others.msg
    assert "(hades, olympus): all email goes to them" in alone.msg


@pytest.mark.django_db
def test_an_account_is_what_its_variable_says_now(a_real_installation):
    a_real_installation.MERCURY_ENVIRONMENT = {"PROVIDER_RELAY": "sandbox://"}
    Account.objects.create(name="relay", kind="smtp", source="environment")

    assert ids(checks.check_accounts_in_use()) == ["mercury.W007"]


@pytest.mark.django_db
def test_a_disabled_sandbox_and_one_whose_variable_is_gone_are_no_error(a_real_installation):
    Account.objects.create(name="olympus", kind="sandbox", enabled=False)
    Account.objects.create(name="hades", kind="sandbox", source="environment")

    assert checks.check_accounts_in_use() == []


@pytest.mark.django_db
def test_stores_that_answer_are_sound():
    assert checks.check_stores() == []


def test_stores_that_are_away_are_reported_in_their_driver_s_words(a_real_installation, monkeypatch):
    def away():
        raise OperationalError("Connection refused\n\tIs the server running?\n")

    monkeypatch.setattr(connection, "ensure_connection", away)
    a_real_installation.REDIS_URL = "redis://zeus:thunder@127.0.0.1:1/0"

    found = checks.check_stores()

    assert ids(found) == ["mercury.W009", "mercury.W010"]
    assert found[0].msg == "The database does not answer: Connection refused Is the server running?"
    assert "127.0.0.1:1" in found[1].msg
    assert "thunder" not in found[1].msg


@pytest.mark.django_db
def test_full_mode_without_a_worker_is_warned_of(a_real_installation):
    a_real_installation.REDIS_URL = "redis://127.0.0.1:6379/0"
    now = timezone.now()
    Worker.objects.create(id="dead", started_at=now, seen_at=now - dt.timedelta(minutes=2))
    [warning] = checks.check_workers()

    Worker.objects.create(id="alive", started_at=now, seen_at=now)

    assert (warning.id, "manage.py worker" in warning.hint) == ("mercury.W008", True)
    assert checks.check_workers() == []


@pytest.mark.django_db
def test_embedded_mode_needs_no_worker(a_real_installation):
    assert checks.check_workers() == []


@pytest.mark.django_db(transaction=True)
def test_a_database_without_tables_is_not_asked_about_accounts_and_workers(a_real_installation, monkeypatch):
    a_real_installation.REDIS_URL = "redis://127.0.0.1:6379/0"
    monkeypatch.setattr(Account._meta, "db_table", "nowhere")
    monkeypatch.setattr(Worker._meta, "db_table", "nowhere")

    assert [*checks.check_accounts_in_use(), *checks.check_workers()] == []


@pytest.mark.django_db
def test_secrets_that_need_an_older_key_are_named(settings):
    settings.MERCURY_ENCRYPTION_KEYS = []
    registration.register("olympus", "sendgrid", {"api_key": "SG.thunderbolt"}, by="zeus")
    settings.MERCURY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    [warning] = checks.check_secrets()

    secrets.encrypt_all_again(by="zeus")

    assert "olympus" in warning.msg
    assert checks.check_secrets() == []


@pytest.mark.django_db
def test_secrets_of_webhooks_that_need_an_older_key_are_counted(settings):
    settings.MERCURY_ENCRYPTION_KEYS = []
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    webhooks.create(caller().key, url="http://127.0.0.1/", by="user:zeus")
    settings.MERCURY_ENCRYPTION_KEYS = [Fernet.generate_key().decode()]
    [warning] = checks.check_secrets()

    webhook_secrets.encrypt_again()

    assert warning.id == "mercury.W013"
    assert checks.check_secrets() == []


def test_a_secret_that_would_go_out_without_tls_is_reported(settings):
    settings.MERCURY_ENVIRONMENT = {
        "PROVIDER_HADES": "smtp://zeus:thunder@mail.olimpus.com?security=none",
        "PROVIDER_OLYMPUS": "sendgrid://:KEY@?api_url=http://api.olimpus.com/v3/",
        "PROVIDER_RELAY": "smtp://mail.olimpus.com?security=none",
        "PROVIDER_SAFE": "smtp://zeus:thunder@mail.olimpus.com",
    }

    found = checks.check_destinations()
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["mail.olimpus.com", "api.olimpus.com"]

    assert ids(found) == ["mercury.E010", "mercury.E010"]
    assert "hades" in found[0].msg
    assert "thunder" not in f"{found}"
    assert checks.check_destinations() == []


def test_an_account_whose_host_is_a_private_address_is_reported(settings):
    settings.MERCURY_ENVIRONMENT = {
        "PROVIDER_HADES": "smtp://127.0.0.1:2525?security=none",
        "PROVIDER_OLYMPUS": "sendgrid://:KEY@?api_url=https://10.0.0.5/v3/",
        "PROVIDER_RELAY": "smtp://relay.olimpus.com",
    }

    found = checks.check_destinations()
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1", "10.0.0.5"]

    assert ids(found) == ["mercury.E015", "mercury.E015"]
    assert "'127.0.0.1'" in found[0].msg
    assert checks.check_destinations() == []
