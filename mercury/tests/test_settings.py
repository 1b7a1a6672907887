import os
import re
import runpy
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings as present
from django.core.exceptions import ImproperlyConfigured

from mercury import settings

pytestmark = pytest.mark.one_leg

# One wrong value each. Any text is right for the names below; what `checks` looks at is refused by them.
WRONG = {
    "ALLOWED_HOSTS": ",",
    "CSRF_TRUSTED_ORIGINS": "mail.example.com",
    "DATABASE_URL": "foo",
    "DEBUG": "maybe",
    "LOG_FORMAT": "bogus",
    "LOG_LEVEL": "bogus",
    "MERCURY_PRIVATE_HOSTS_ALLOWED": "http://hades",
    "MERCURY_BASE_URL": "foo",
    "MERCURY_CONNECT_TIMEOUT": "3",
    "MERCURY_DATA": "manage.py",
    "MERCURY_DATABASE_TIMEOUT": "100ms",
    "MERCURY_SEND_TIMEOUT": "x",
    "MERCURY_EHLO_NAME": "localhost",
    "MERCURY_ENCRYPTION_KEYS": "bad",
    "MERCURY_EXPIRY": "3 days",
    "MERCURY_FILE_QUOTA": "0",
    "MERCURY_FILE_RETENTION": "x",
    "MERCURY_FILE_STORAGE": "ftp://olympus/files",
    "MERCURY_FINAL_REPLY_TIMEOUT": "10",
    "MERCURY_HTTPS": "ja",
    "MERCURY_LARGE_SIZE": "x",
    "MERCURY_LEASE": "0s",
    "MERCURY_LINK_DOWNLOADS": "-1",
    "MERCURY_LINK_EXPIRY": "x",
    "MERCURY_MAX_ATTACHMENT_SIZE": "x",
    "MERCURY_MAX_ATTACHMENTS_SIZE": "x",
    "MERCURY_MAX_FILE_SIZE": "x",
    "MERCURY_MAX_RECIPIENTS": "0",
    "MERCURY_MAX_SCHEDULE": "x",
    "MERCURY_MAX_SIZE": "x",
    "MERCURY_MAX_CONCURRENCY": "abc",
    "MERCURY_PRIVATE_DOMAINS": "a b",
    "MERCURY_PROXIES": "x",
    "MERCURY_BODY_RETENTION": "x",
    "MERCURY_MAIL_RETENTION": "x",
    "MERCURY_QUEUE_SHARES": "bulk=0",
    "MERCURY_RETRY_BACKOFF": "30s,x",
    "MERCURY_SANDBOX_KEEP": "-1",
    "MERCURY_START_PAUSED": "ture",
    "MERCURY_TEST_DATABASE_URL": "foo",
    "MERCURY_TEST_REDIS_URL": "foo",
    "METRICS_FROM": "x",
    "REDIS_URL": "foo",
    "SENTRY_DSN": "foo",
}
# Values that can be read and that nothing would work with.
OUT_OF_BOUNDS = [
    ("MERCURY_MAX_SIZE", "10"),
    ("MERCURY_MAX_SIZE", "9999"),
    ("MERCURY_MAX_SIZE", "10GB"),
    ("MERCURY_MAX_ATTACHMENT_SIZE", "101MB"),
    ("MERCURY_MAX_ATTACHMENTS_SIZE", "101MB"),
    ("MERCURY_MAX_FILE_SIZE", "3GB"),
    ("MERCURY_FILE_QUOTA", "1"),
    ("MERCURY_FILE_RETENTION", "1s"),
    ("MERCURY_LINK_DOWNLOADS", "1000001"),
    ("MERCURY_LINK_EXPIRY", "1s"),
    ("MERCURY_LARGE_SIZE", "1kB"),
    ("MERCURY_MAX_RECIPIENTS", "100000"),
    ("MERCURY_MAX_SCHEDULE", "1s"),
    ("MERCURY_MAX_CONCURRENCY", "0"),
    ("MERCURY_MAX_CONCURRENCY", "999999"),
    ("MERCURY_SEND_TIMEOUT", "1ms"),
    ("MERCURY_SEND_TIMEOUT", "30d"),
    ("MERCURY_CONNECT_TIMEOUT", "1ms"),
    ("MERCURY_FINAL_REPLY_TIMEOUT", "1d"),
    ("MERCURY_LEASE", "400d"),
    ("MERCURY_EXPIRY", "1ms"),
    ("MERCURY_RETRY_BACKOFF", "30s,1ms"),
    ("MERCURY_RETRY_BACKOFF", "30s,400d"),
    ("MERCURY_RETRY_BACKOFF", ",".join(["1s"] * 1001)),
    ("MERCURY_SANDBOX_KEEP", "999999999"),
    ("MERCURY_BODY_RETENTION", "1ms"),
    ("MERCURY_PROXIES", "100"),
    ("MERCURY_DATABASE_TIMEOUT", "61s"),
]
ANY_TEXT = {"MERCURY_DELIVERY_GUARANTEE", "METRICS_TOKEN", "SECRET_KEY", "SECRET_KEY_FALLBACKS"}


@pytest.fixture
def read(monkeypatch, tmp_path):
    """The settings as a process with nothing but these variables would read them."""

    def values(**environment):
        with monkeypatch.context() as patched:
            for name in settings.MERCURY_NAMES:
                patched.delenv(name, raising=False)
            for name, value in ({"SECRET_KEY": "x" * 50} | environment).items():
                patched.setenv(name, value)
            found = runpy.run_path(settings.__file__)
        return {name: value for name, value in found.items() if name.isupper() and name != "MERCURY_ENVIRONMENT"}

    return values


def test_the_table_above_knows_every_setting():
    assert set(WRONG) | ANY_TEXT == present.MERCURY_NAMES


@pytest.mark.parametrize("name", sorted(WRONG))
def test_a_wrong_value_stops_with_the_name_of_its_variable(read, name):
    with pytest.raises(ImproperlyConfigured, match=f"^{name}: ") as raised:
        read(**{name: WRONG[name]})

    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "value"), OUT_OF_BOUNDS)
def test_a_value_that_nothing_works_with_stops_with_the_name_of_its_variable(read, name, value):
    with pytest.raises(ImproperlyConfigured, match=f"^{name}: ") as raised:
        read(**{name: value})

    assert len(str(raised.value).splitlines()) == 1


def test_every_number_time_and_size_has_bounds():
    """Each setting of these kinds is in the table, with a value beyond its bounds."""
    source = Path(settings.__file__).read_text()
    bounded = re.findall(
        r'"(MERCURY_[A-Z_]+)",\s*(?:parse_nonempty_list\()?parse_(?:integer|duration|size)_between\(', source
    )

    assert set(bounded) - {name for name, _ in OUT_OF_BOUNDS} == {
        "MERCURY_MAIL_RETENTION"
    }  # `retention_limits` bounds it
    assert re.findall(r"env\.read\([^)]*(?:, parse_duration|, parse_size|, int|, float)\b", source) == []


def test_a_secret_with_a_comment_is_reported_once(read, tmp_path):
    with pytest.raises(ImproperlyConfigured, match=r"^SECRET_KEY: it contains a comment") as raised:
        read(MERCURY_DATA=str(tmp_path), SECRET_KEY="thunder      # 50 random characters or more")

    assert len(str(raised.value).splitlines()) == 1


def test_a_folder_that_no_secret_can_be_kept_in_is_named(read, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(ImproperlyConfigured, match=r"^MERCURY_DATA: .*SECRET_KEY"):
        read(MERCURY_DATA=str(tmp_path / "file" / "data"), SECRET_KEY="")


def test_each_line_of_the_example_file_is_the_default(read, monkeypatch):
    monkeypatch.chdir(present.BASE_DIR)
    lines = re.findall(r"^# ([A-Z_]+)=(.*)", (present.BASE_DIR / ".env.example").read_text(), re.MULTILINE)
    written = {name: value for name, value in lines if name in present.MERCURY_NAMES and name != "SECRET_KEY"}

    assert read(**written) == read()


@pytest.mark.parametrize("command", [["manage.py", "check"], ["manage.py", "send"], ["-m", "gunicorn", "mercury.wsgi"]])
def test_no_start_with_wrong_settings_and_no_traceback(command, tmp_path):
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ} | {
        "MERCURY_DATA": str(tmp_path),
        "MERCURY_START_PAUSED": "ture",
        "DATABASE_URL": "mysql://zeus:thunder@hades/mercury",
    }

    done = subprocess.run(
        [sys.executable, *command],
        env=environment,
        cwd=present.BASE_DIR,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert "Mercury does not start. DATABASE_URL: it begins neither" in done.stderr
    assert "MERCURY_START_PAUSED: 'ture' is neither true nor false." in done.stderr
    assert "Traceback" not in done.stderr
    assert "thunder" not in done.stderr


@pytest.mark.parametrize(("name", "value"), [("PORT", "abc"), ("PORT", "70000"), ("WEB_THREADS", "x")])
def test_the_web_server_s_own_settings_are_named_too(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit, match=f"{name}: '{value}' is not a whole number from"):
        runpy.run_path(str(present.BASE_DIR / "gunicorn.conf.py"))


def test_the_secret_is_made_once_in_a_folder_that_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "olympus" / "data" / "secret-key"

    first, second = settings._generate_secret(path), settings._generate_secret(path)

    assert first == second
    assert len(first) == 50
    assert [stat.S_IMODE(entry.stat().st_mode) for entry in (path.parent, path)] == [0o700, 0o600]


def test_a_folder_that_is_there_keeps_its_mode(tmp_path):
    tmp_path.chmod(0o750)

    settings._generate_secret(tmp_path / "secret-key")

    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o750
