"""SMTP as a kind: its options. How it is spoken is tested in `tests/transports`."""

import pytest

from providers.kinds.base import OptionsInvalid
from providers.kinds.options import clean_options


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"security": "hope"}, "security"),
        ({"username": "zeus"}, "password"),
        ({"username": "jürgen", "password": "x"}, "username"),
        ({"username": "zeus", "password": "schlüssel"}, "password"),
        ({"username": "zeus", "password": "two\nlines"}, "password"),
        ({"ehlo_name": "localhost"}, "ehlo_name"),
        ({"ehlo_name": "olympus"}, "ehlo_name"),
        ({"ehlo_name": "192.0.2.1"}, "ehlo_name"),
        ({"ehlo_name": "[192.0.2.300]"}, "ehlo_name"),
    ],
)
def test_an_error_names_its_option(options, field):
    with pytest.raises(OptionsInvalid) as caught:
        clean_options("smtp", {"host": "mail.olimpus.com", **options})

    assert list(caught.value.errors) == [field]


@pytest.mark.parametrize(("security", "port"), [("starttls", 587), ("tls", 465), ("none", 25)])
def test_the_port_follows_the_security(security, port):
    assert clean_options("smtp", {"host": "mail.olimpus.com", "security": security})["port"] == port


def test_a_password_may_begin_and_end_with_blanks():
    options = {"host": "mail.olimpus.com", "username": " zeus ", "password": " thunder "}

    cleaned = clean_options("smtp", options)

    assert (cleaned["username"], cleaned["password"]) == ("zeus", " thunder ")


@pytest.mark.parametrize("name", ["mail.olimpus.com", "[192.0.2.1]", "[IPv6:2001:db8::1]"])
def test_a_name_for_ehlo_is_a_full_name_or_an_address(name):
    assert clean_options("smtp", {"host": "mail.olimpus.com", "ehlo_name": name})["ehlo_name"] == name
