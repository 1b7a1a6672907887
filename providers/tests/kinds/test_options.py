"""Checks of options that several kinds share."""

from dataclasses import replace

import pytest

from providers.kinds.base import OptionsInvalid, Transport
from providers.kinds.catalog import KINDS
from providers.kinds.options import clean_options
from providers.tests.support import certificates


def _pem(words):
    return f"-----BEGIN CERTIFICATE-----\n{words}\n-----END CERTIFICATE-----"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_an_http_kind_has_an_api_and_the_others_have_none(kind):
    assert (kind.api is not None) is (kind.transport is Transport.HTTP)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_default_address_is_one_of_the_regions_if_there_are_some(kind):
    default = kind.find_option("api_url")

    assert not kind.regions or default.required or default.default in kind.regions.values()


def test_defaults_are_filled_in():
    assert clean_options("sendgrid", {"api_key": " SG.key "}) == {
        "api_key": "SG.key",
        "api_url": "https://api.sendgrid.com/v3/",
        "max_connections": None,
    }


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("sendgrid", {}, "api_key"),
        ("sendgrid", {"api_key": ""}, "api_key"),
        ("sendgrid", {"api_key": " "}, "api_key"),
        ("sendgrid", {"api_key": 3}, "api_key"),
        ("sendgrid", {"api_key": "schlüssel"}, "api_key"),
        ("sendgrid", {"api_key": "two\r\nlines"}, "api_key"),
        ("sendgrid", {"api_key": "k" * 3000}, "api_key"),
        ("sendgrid", {"api_key": "key", "password": "x"}, "password"),
        ("sendgrid", {"api_key": "key", "api_url": "ftp://olimpus.com"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "https://"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "https://zeus:pw@olimpus.com/"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "https://olimpus.com/?to=x"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "https://olimpus.com:99999/"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "https://[::1"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "http://a b/"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "http://..x/"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "http://x:0/"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "http://localhost%00.x/"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "https://olimpus.com../"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": f"https://{'x' * 64}.com/"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": f"https://{'x.' * 150}com/"}, "api_url"),
        ("sendgrid", {"api_key": "key", "api_url": "https://[fe80::1%25eth0]/"}, "api_url"),
        ("mailgun", {"api_key": "key", "sender_domain": "mg.olimpus.com/../x"}, "sender_domain"),
        ("mailgun", {"api_key": "key", "sender_domain": "a/../:b?"}, "sender_domain"),
        ("smtp", {"host": "mail.olimpus.com/x"}, "host"),
        ("smtp", {"host": "mail.olimpus.com:25"}, "host"),
        ("smtp", {"host": "a b:@"}, "host"),
        ("smtp", {"host": "fe80::1%eth0"}, "host"),
        ("smtp", {"host": "..x"}, "host"),
        ("smtp", {"host": "mail.olimpus.com", "port": 0}, "port"),
        ("smtp", {"host": "mail.olimpus.com", "port": True}, "port"),
        ("smtp", {"host": "mail.olimpus.com", "max_connections": 0}, "max_connections"),
        ("smtp", {"host": "mail.olimpus.com", "max_connections": "many"}, "max_connections"),
        ("sendgrid", {"api_key": "key", "max_connections": 10_001}, "max_connections"),
        ("smtp", {"host": "mail.olimpus.com", "port": "٣"}, "port"),
        ("smtp", {"host": "999.1.1.1"}, "host"),
        ("smtp", {"host": "mail.olimpus.123"}, "host"),
        ("smtp", {"host": "mail.olimpus.com", "ca": "trust me"}, "ca"),
        ("sendgrid", {"api_key": "key", "ca": _pem("not base64!")}, "ca"),
        ("mailgun", {"api_key": "key", "ca": _pem("AAAA")}, "ca"),
        ("sandbox", {"fault": "hang"}, "fault"),
    ],
)
def test_an_error_names_its_option(kind, options, field):
    with pytest.raises(OptionsInvalid) as caught:
        clean_options(kind, options)

    assert list(caught.value.errors) == [field]


@pytest.mark.parametrize(
    ("typed", "host"),
    [("mail.olimpus.com.", "mail.olimpus.com"), ("bücher.example", "bücher.example"), ("2606:4700::1", "2606:4700::1")],
)
def test_a_host_is_a_name_or_an_address(typed, host):
    assert clean_options("smtp", {"host": typed})["host"] == host


@pytest.mark.parametrize("url", ["https://olimpus.com./v3", "https://olimpus.com:8443/v3", "https://[2606:4700::1]/"])
def test_an_address_with_a_proper_host_is_accepted(url):
    assert clean_options("sendgrid", {"api_key": "key", "api_url": url})["api_url"] == url


@pytest.mark.parametrize("around", ["{}", "My authority\r\n\r\n{}\r\n"])
def test_an_authority_is_kept_as_its_certificates_alone(tmp_path, around):
    ca, _ = certificates.with_authority(tmp_path)

    cleaned = clean_options("smtp", {"host": "mail.olimpus.com", "ca": around.format(ca)})

    assert cleaned["ca"] == ca.strip()


def test_a_certificate_that_is_no_authority_is_refused(tmp_path):
    certificates.with_authority(tmp_path)
    server = (tmp_path / "server.pem").read_text()

    with pytest.raises(OptionsInvalid, match="belongs to an authority"):
        clean_options("smtp", {"host": "mail.olimpus.com", "ca": server})


def test_a_provider_knows_its_own_addresses():
    sendgrid = KINDS["sendgrid"]

    assert sendgrid.is_own_address("https://api.eu.sendgrid.com/v3/")
    assert replace(sendgrid, regions={}).is_own_address("https://api.sendgrid.com/v3/")
    assert not sendgrid.is_own_address("https://api.sendgrid.com.olimpus.com/v3/")
    assert not KINDS["smtp"].is_own_address(None)
