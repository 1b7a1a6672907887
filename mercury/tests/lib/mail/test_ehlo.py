"""The name that EHLO carries is a full one or an address, never localhost."""

import socket

import pytest

from mercury.lib.mail import ehlo


def _machine(monkeypatch, *, hostname, fqdn):
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    monkeypatch.setattr(socket, "getfqdn", lambda: fqdn)


@pytest.mark.parametrize(
    ("hostname", "fqdn", "name"),
    [
        ("Mail.Olimpus.com", "localhost", "mail.olimpus.com"),
        ("mail", "mail.olimpus.com", "mail.olimpus.com"),
        ("mail", "mail", "[192.0.2.7]"),
        ("localhost", "localhost.localdomain", "[192.0.2.7]"),
        ("mail.localdomain", "ip6-localhost", "[192.0.2.7]"),
        ("3f2a9c", "10.0.0.7", "[192.0.2.7]"),
        ("my_host.olimpus.com", "a..b", "[192.0.2.7]"),
    ],
)
def test_the_machines_full_name_or_its_address(monkeypatch, hostname, fqdn, name):
    _machine(monkeypatch, hostname=hostname, fqdn=fqdn)

    assert ehlo.get_ehlo_name("192.0.2.7") == name


def test_what_is_configured_wins(monkeypatch):
    _machine(monkeypatch, hostname="mail.olimpus.com", fqdn="")

    assert ehlo.get_ehlo_name("192.0.2.7", configured="relay.olimpus.com") == "relay.olimpus.com"


@pytest.mark.parametrize(
    ("address", "literal"),
    [
        ("192.0.2.7", "[192.0.2.7]"),
        ("2001:db8::7", "[IPv6:2001:db8::7]"),
        ("fe80::1%eth0", "[IPv6:fe80::1]"),
        ("::ffff:192.0.2.7", "[192.0.2.7]"),
    ],
)
def test_an_address_literal(address, literal):
    assert ehlo.format_address_literal(address) == literal
    assert ehlo.is_ehlo_name(literal)


@pytest.mark.parametrize("text", ["", "localhost", "olympus", "[localhost]", "[2001:db8::7]", "192.0.2.7", "a b.com"])
def test_what_ehlo_may_not_carry(text):
    assert not ehlo.is_ehlo_name(text)
