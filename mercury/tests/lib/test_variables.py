import datetime as dt
import ipaddress

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from mercury.lib import variables

pytestmark = pytest.mark.one_leg

PASSWORD = "thunder"
DURATION = variables.parse_duration_between("1ms", "36500d")
DURATIONS = variables.parse_nonempty_list(DURATION, "30s")


def test_all_errors_are_reported_at_once_each_with_its_name():
    env = variables.Variables({"OLYMPUS": "ja", "HADES": "x", "STYX": "3"})

    read = [
        env.read("OLYMPUS", variables.parse_switch, "false"),
        env.read("HADES", variables.parse_integer_between(1, 9), "5"),
        env.read("STYX", variables.parse_integer_between(1, 9), "5"),
    ]

    assert read == [False, 5, 3]
    assert env.names == {"OLYMPUS", "HADES", "STYX"}
    with pytest.raises(ImproperlyConfigured) as raised:
        env.raise_on_errors()
    assert str(raised.value).splitlines() == [
        "OLYMPUS: 'ja' is neither true nor false. Write true or false.",
        "HADES: 'x' is not a whole number from 1 to 9.",
    ]


@pytest.mark.parametrize("left", ["", "  "])
def test_a_name_that_is_left_empty_counts_as_not_set(left):
    env = variables.Variables({"OLYMPUS": left})

    assert env.read("OLYMPUS", variables.parse_integer_between(1, 9), "5") == 5
    env.raise_on_errors()


def test_without_an_error_nothing_is_raised():
    env = variables.Variables({})

    env.read("OLYMPUS", variables.parse_switch, "true")

    env.raise_on_errors()


@pytest.mark.parametrize("text", ["true", "1", "yes", "on", "True", " ON "])
def test_words_that_mean_yes(text):
    assert variables.parse_switch(text) is True


@pytest.mark.parametrize("text", ["false", "0", "no", "off", "FALSE"])
def test_words_that_mean_no(text):
    assert variables.parse_switch(text) is False


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (variables.parse_integer_between(0, 9), " 0 ", 0),
        (variables.parse_choice("INFO", "ERROR"), "error", "ERROR"),
        (DURATION, "36500d", dt.timedelta(days=36_500)),
        (DURATIONS, "30s, 2m", [dt.timedelta(seconds=30), dt.timedelta(minutes=2)]),
        (
            variables.parse_list(variables.parse_host),
            "mail.internal, 10.0.0.5,::1,",
            ["mail.internal", "10.0.0.5", "::1"],
        ),
        (variables.parse_served_host, "*", "*"),
        (variables.parse_served_host, ".example.com", ".example.com"),
        (variables.parse_served_host, "[::1]", "[::1]"),
        (variables.parse_network, "::1/128", ipaddress.ip_network("::1/128")),
        (variables.parse_origin, "https://*.example.com:8443", "https://*.example.com:8443"),
        (variables.parse_base_url, "https://example.com/mail/", "https://example.com/mail"),
        (variables.parse_base_url, "", ""),
        (variables.parse_database_url, "", ""),
        (variables.parse_database_url, "sqlite:////var/mercury.sqlite3", "sqlite:////var/mercury.sqlite3"),
        (
            variables.parse_database_url,
            "postgres://%2Frun%2Fpostgresql/mercury",
            "postgres://%2Frun%2Fpostgresql/mercury",
        ),
        (variables.parse_redis_url, "redis://hades:6379/0/", "redis://hades:6379/0/"),
        (variables.parse_database_url, "PGSQL://hades/mercury", "PGSQL://hades/mercury"),
        (variables.parse_sentry_dsn, "https://key:old@sentry.olimpus.com/1", "https://key:old@sentry.olimpus.com/1"),
        (variables.parse_secret, "a$b", "a$b"),
        (variables.parse_secret, "#a#b", "#a#b"),
        (variables.parse_redis_url, "", ""),
        (variables.parse_redis_url, "rediss://:thunder@hades:6379/2", "rediss://:thunder@hades:6379/2"),
        (variables.parse_redis_url, "unix:///run/redis.sock", "unix:///run/redis.sock"),
        (variables.parse_sentry_dsn, "https://abc@o1.ingest.sentry.io/42", "https://abc@o1.ingest.sentry.io/42"),
        (variables.parse_sentry_dsn, "", ""),
        (variables.parse_fernet_key, "A" * 43 + "=", "A" * 43 + "="),
    ],
)
def test_valid_values(kind, text, value):
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (variables.parse_switch, "ture"),
        (variables.parse_switch, ""),
        (variables.parse_integer_between(1, 9), "0"),
        (variables.parse_integer_between(0, 9), "-1"),
        (variables.parse_integer_between(0, 9), "10"),
        (variables.parse_duration_between("1s", "1h"), "999ms"),
        (variables.parse_duration_between("1s", "1h"), "2h"),
        (variables.parse_size_between("10kB", "1MB"), "9kB"),
        (variables.parse_size_between("10kB", "1MB"), "2MB"),
        (variables.parse_integer_between(0, 9), "²"),
        (variables.parse_integer_between(0, 9), "9" * 5000),
        (variables.parse_choice("console", "json"), "xml"),
        (DURATION, "60"),
        (DURATION, "36501d"),
        (DURATION, "9" * 20 + "d"),
        (DURATION, "0.0001ms"),
        (DURATIONS, ""),
        (variables.parse_host, "https://mail.internal"),
        (variables.parse_host, "mail.internal:25"),
        (variables.parse_served_host, "mail.example.com:8000"),
        (variables.parse_served_host, "*.example.com"),
        (variables.parse_served_host, "::1"),
        (variables.parse_network, "10.0.0.1/8"),
        (variables.parse_origin, "mail.example.com"),
        (variables.parse_origin, "https://mail.example.com/"),
        (variables.parse_base_url, "mail.example.com"),
        (variables.parse_folder, __file__),
    ],
)
def test_values_that_are_refused(kind, text):
    with pytest.raises(ValueError, match=r"\."):
        kind(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (variables.parse_database_url, f"mysql://zeus:{PASSWORD}@hades/mercury"),
        (variables.parse_database_url, f"postgres://zeus:{PASSWORD}/x@hades:5432/mercury"),
        (variables.parse_database_url, f"postgres://zeus:{PASSWORD}@hades:x/mercury"),
        (variables.parse_database_url, f"postgres://zeus:{PASSWORD}@hades:5432"),
        (variables.parse_database_url, "sqlite://"),
        (variables.parse_redis_url, f"http://:{PASSWORD}@hades"),
        (variables.parse_redis_url, f"redis://:{PASSWORD}/x@hades:6379/0"),
        (variables.parse_redis_url, f"redis://:{PASSWORD}@hades:6379/first"),
        (variables.parse_redis_url, f"redis://:{PASSWORD}@hades:6379/0?socket_timeout=long"),
        (variables.parse_fernet_key, PASSWORD),
        (variables.parse_sentry_dsn, f"https://{PASSWORD}@sentry.example.com"),
        (variables.parse_sentry_dsn, PASSWORD),
        (variables.parse_secret, f"${PASSWORD.upper()}"),
        (variables.parse_secret, f"${{{PASSWORD}}}"),
        (variables.parse_secret, f"{PASSWORD}      # 50 random characters or more"),
        (variables.parse_secret, f"# {PASSWORD}"),
        (variables.parse_base_url, f"https://zeus:{PASSWORD}@mail.example.com"),
    ],
)
def test_what_is_wrong_with_a_secret_is_said_and_not_the_secret(kind, text):
    with pytest.raises(ValueError, match=r"\.") as raised:
        kind(text)

    assert PASSWORD not in str(raised.value)


def test_a_value_is_shown_on_one_line():
    assert variables.quote_value("a\nb") == "'a�b'"
    assert len(variables.quote_value("x" * 5000)) < 100


@pytest.fixture
def environment(monkeypatch):
    values = {"STYX": "deep"}
    monkeypatch.setattr(environ.Env, "ENVIRON", values)
    return values


def test_a_file_adds_to_the_environment_which_wins(environment, tmp_path):
    (tmp_path / ".env").write_text(
        "\ufeffOLYMPUS=high\n\n  \n# HADES=x\n  # x\nexport HADES='a #b'\nSTYX=dry\n", "utf-8"
    )

    assert variables.load_env_file(tmp_path / ".env") == []
    assert environment == {"STYX": "deep", "OLYMPUS": "high", "HADES": "a #b"}


def test_a_file_need_not_be_there(environment, tmp_path):
    assert variables.load_env_file(tmp_path / ".env") == []


@pytest.mark.parametrize(
    "line", [PASSWORD, f"HADES ={PASSWORD}", f" HADES={PASSWORD}", f"HADES: {PASSWORD}", f"a-b={PASSWORD}"]
)
def test_a_line_that_is_no_setting_is_reported_by_its_number_alone(environment, tmp_path, caplog, line):
    path = tmp_path / ".env"
    path.write_text(f"OLYMPUS=high\n{line}\n")

    [error] = variables.load_env_file(path)

    assert error.startswith(f"{path}, line 2: is not a valid setting. Write NAME=value")
    assert PASSWORD not in error + caplog.text
    assert environment == {"STYX": "deep", "OLYMPUS": "high"}


def test_a_file_that_cannot_be_read_is_an_error(environment, tmp_path):
    (tmp_path / "latin").write_bytes(b"OLYMPUS=h\xf6h\n")

    assert "cannot be read (Is a directory)" in variables.load_env_file(tmp_path)[0]
    assert "is not UTF-8" in variables.load_env_file(tmp_path / "latin")[0]


def test_a_default_that_cannot_be_read_stops_with_the_name_too(tmp_path):
    (tmp_path / "data").touch()
    env = variables.Variables({})

    with pytest.raises(ImproperlyConfigured, match=r"^MERCURY_DATA: .* is a file"):
        env.read("MERCURY_DATA", variables.parse_folder, str(tmp_path / "data"))
