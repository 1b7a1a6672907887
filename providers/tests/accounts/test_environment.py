"""Accounts written as URLs."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from providers.accounts import environment
from providers.tests.support import certificates


def _only(**environ):
    (config,) = environment.parse_accounts(environ).values()
    return config


def test_nothing_set_is_no_account():
    assert environment.parse_accounts({"PATH": "/bin", "PROVIDER_OLYMPUS": "", "SENDGRID_API_KEY": " "}) == {}


def test_a_sendgrid_url():
    config = _only(PROVIDER_OLYMPUS="sendgrid://:SG.a%2Fb@?region=eu&weight=3&priority=2&rate=14/s&trust_500=1")

    assert (config.name, config.kind, config.weight, config.priority, config.rate, config.trust_500) == (
        "olympus",
        "sendgrid",
        3,
        2,
        14,
        True,
    )
    assert config.options == {
        "api_key": "SG.a/b",
        "api_url": "https://api.eu.sendgrid.com/v3/",
        "max_connections": None,
    }


def test_a_mailgun_url_names_the_sending_domain():
    config = _only(PROVIDER_MAILGUN_EU="mailgun://:KEY@mg.olimpus.com?region=eu&weight=2&rate=600/m")

    assert (config.name, config.rate) == ("mailgun-eu", 10)
    assert config.options == {
        "api_key": "KEY",
        "sender_domain": "mg.olimpus.com",
        "api_url": "https://api.eu.mailgun.net/v3",
        "max_connections": None,
    }


def test_a_mailgun_url_without_a_domain_takes_the_senders():
    assert _only(PROVIDER_HADES="mailgun://:KEY@").options["sender_domain"] is None


@pytest.mark.parametrize(
    ("url", "port", "security"),
    [
        ("smtp://zeus:pa%40ss@mail.olimpus.com", 587, "starttls"),
        ("smtp://zeus:pa%40ss@mail.olimpus.com:2525?security=none", 2525, "none"),
        ("smtps://zeus:pa%40ss@mail.olimpus.com", 465, "tls"),
    ],
)
def test_an_smtp_url(url, port, security):
    options = _only(PROVIDER_HADES=url).options

    assert options == {
        "host": "mail.olimpus.com",
        "port": port,
        "username": "zeus",
        "password": "pa@ss",
        "security": security,
        "max_connections": None,
    }


def test_a_url_may_bound_the_connections():
    assert _only(PROVIDER_HADES="smtp://mail.olimpus.com?max_connections=3").options["max_connections"] == 3


@pytest.mark.parametrize("url", ["sandbox:", "sandbox://"])
def test_a_sandbox_url_needs_nothing(url):
    assert (_only(PROVIDER_TRY_OUT=url).name, _only(PROVIDER_TRY_OUT=url).kind) == ("try-out", "sandbox")


def test_the_names_of_the_prototype():
    found = environment.parse_accounts(
        {
            "SENDGRID_API_KEY": "SG.key",
            "MAILGUN_API_KEY": "key",
            "MAILGUN_DOMAIN_NAME": "mg.olimpus.com",
            "MAILGUN_URL_API": "https://api.mailgun.net/v3/mg.olimpus.com/messages",
        }
    )

    assert sorted(found) == ["mailgun", "sendgrid"]
    assert found["mailgun"].options["api_url"] == "https://api.mailgun.net/v3"
    assert found["mailgun"].options["sender_domain"] == "mg.olimpus.com"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "PROVIDER_OLYMPUS",
            "pigeon://:secret@",
            "unknown scheme 'pigeon'. Known: sendgrid, mailgun, ",
        ),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?region=mars", "unknown region 'mars'. Known: us, eu"),
        ("PROVIDER_OLYMPUS", "sendgrid://", "api_key: It is required"),
        ("PROVIDER_OLYMPUS", "smtp://mail.olimpus.com?region=eu", "region: SMTP has no such option"),
        (
            "PROVIDER_OLYMPUS",
            "sandbox://?ca_file=/etc/passwd",
            "ca_file: Sandbox has no such option. Known: weight, priority, rate",
        ),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?ca_file=%00", "ca_file: the file cannot be read as text"),
        (
            "PROVIDER_OLYMPUS",
            "sendgrid://:secret@?wieght=2",
            "wieght: SendGrid has no such option. Known: weight, priority, rate, trust_500, daily_quota, monthly_quota",
        ),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?weight=-1", "weight must be a whole number"),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?priority=0", "priority must be a whole number from 1 to 100"),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?rate=fast", "A rate is a number and a unit"),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?rate=0/s", "A rate is a number and a unit"),
        ("PROVIDER_OLYMPUS", "smtp://zeus:sec#ret@mail.olimpus.com", "Write /, ?, #, @ and : in a password as"),
        ("PROVIDER_OLYMPUS", "smtp://zeus:secret@mail.olimpus.com:99999", "not a URL"),
        ("PROVIDER_OLYMPUS", "smtp://zeus@mail.olimpus.com", "password: Set both user name and password"),
        ("PROVIDER_OLYMPUS", "smtp://zeus:secret@mail.olimpus.com?security=hope", "security: It must be one of"),
        ("PROVIDER_OLYMPUS", "secret", "unknown scheme ''"),
        ("PROVIDER_OLYMPUS", "http://[secret", "not a URL"),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?weight=1&weight=2", "is there twice"),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?api_key=secret", "gives api_key twice"),
        ("PROVIDER_OLYMPUS", "sendgrid://:secret@?region=eu&api_url=https://olimpus.com", "gives api_url twice"),
        ("PROVIDER_OLYMPUS", "mailgun://:secret@mg.olimpus.com?sender_domain=olimpus.com", "gives sender_domain twice"),
        ("PROVIDER_OLYMPUS", "smtp://zeus:secret@mail.olimpus.com:25?port=26", "gives port twice"),
        ("PROVIDER_OLYMPUS", "smtps://mail.olimpus.com?security=none", "gives security twice"),
        ("PROVIDER_OLYMPUS", "smtp://mail.olimpus.com/secret", "nothing after the host"),
        ("PROVIDER_OLYMPUS", "smtp://zeus:25/secret@mail.olimpus.com", "nothing after the host"),
        ("PROVIDER_OLYMPUS", "mailgun://:KEY@mg.olimpus.com#secret", "nothing after the host"),
        ("PROVIDER_", "sandbox://", "an account's name"),
        ("PROVIDER_ZWEI__UNTER", "sandbox://", "an account's name"),
        ("MAILGUN_API_KEY", "secret\nsecret", "api_key: It must be one line"),
    ],
)
def test_an_error_is_named_with_its_variable_and_without_the_secret(variable, value, words):
    with pytest.raises(ImproperlyConfigured) as caught:
        environment.parse_accounts({variable: value})

    assert str(caught.value).startswith(f"{variable}: ")
    assert words in str(caught.value)
    assert "sec" not in str(caught.value).replace("security", "")


def test_two_variables_for_one_account_are_an_error():
    with pytest.raises(ImproperlyConfigured, match="SENDGRID_API_KEY and PROVIDER_SENDGRID both create"):
        environment.parse_accounts({"SENDGRID_API_KEY": "SG.key", "PROVIDER_SENDGRID": "sendgrid://:SG.key@"})


def test_a_switch_of_an_account_that_is_neither_true_nor_false_is_refused():
    with pytest.raises(ImproperlyConfigured, match=r"^PROVIDER_OLYMPUS: trust_500: 'ja' is neither true nor false"):
        _only(PROVIDER_OLYMPUS="sendgrid://:SG.a@?trust_500=ja")


@pytest.mark.parametrize("url", ["smtp://mail.olimpus.com?ca_file={}", "sendgrid://:KEY@?ca_file={}"])
def test_a_private_authority_comes_from_a_file(tmp_path, url):
    ca, _ = certificates.with_authority(tmp_path)
    (tmp_path / "ca.pem").write_text(f"# Bücher\n{ca}")

    assert _only(PROVIDER_HADES=url.format(tmp_path / "ca.pem")).options["ca"] == ca.strip()


def test_an_authority_that_cannot_be_read_stops_mercury(tmp_path):
    with pytest.raises(ImproperlyConfigured, match="PROVIDER_HADES: ca_file: the file cannot be read"):
        _only(PROVIDER_HADES=f"smtp://mail.olimpus.com?ca_file={tmp_path / 'none.pem'}")


def test_a_name_for_ehlo():
    assert _only(PROVIDER_HADES="smtp://mail.olimpus.com?ehlo_name=relay.example.org").options["ehlo_name"] == (
        "relay.example.org"
    )
