"""Addresses as RFC 5321 and RFC 5322 have them: which are accepted, in which form, and which are not."""

import tracemalloc

import pytest

from mails.access import api_keys
from mails.intake.submission import InvalidSubmission, judge
from mails.message import addresses
from mails.message.addresses import InvalidAddress
from mails.tests.builders import HELLO

LONG_LOCAL = "z" * 64
LONG_LABEL = "z" * 63


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("zeus@olimpus.com", "zeus@olimpus.com"),
        ("z@olimpus.com", "z@olimpus.com"),
        ("zeus.cronides@OLIMPUS.co.uk", "zeus.cronides@olimpus.co.uk"),
        ("Zeus+tag@olimpus.com", "Zeus+tag@olimpus.com"),
        ("!#$%&`*+/=?^`{|}~@olimpus.com", "!#$%&`*+/=?^`{|}~@olimpus.com"),
        ("123@123.com", "123@123.com"),
        ("xn--zeus@olimpus.com", "xn--zeus@olimpus.com"),
        (f"{LONG_LOCAL}@olimpus.com", f"{LONG_LOCAL}@olimpus.com"),
        (f"zeus@{LONG_LABEL}.com", f"zeus@{LONG_LABEL}.com"),
        ("zeus@mount-olympus.com", "zeus@mount-olympus.com"),
        ("zeus@c--n.com", "zeus@c--n.com"),
        ("zeus@ὄλυμπος.gr", "zeus@xn--wxacjdlo5830c.gr"),
        ('"zeus"@olimpus.com', "zeus@olimpus.com"),
        ('"\\z\\eus"@olimpus.com', "zeus@olimpus.com"),
        ('"john doe"@olimpus.com', '"john doe"@olimpus.com'),
        ('"john\\ doe"@olimpus.com', '"john doe"@olimpus.com'),
        ('"john.doe."@olimpus.com', '"john.doe."@olimpus.com'),
        ('"a@b,c<d>"@olimpus.com', '"a@b,c<d>"@olimpus.com'),
        ('"\\""@olimpus.com', '"\\""@olimpus.com'),
        ('"\\\\"@olimpus.com', '"\\\\"@olimpus.com'),
        ("zeus@localhost", "zeus@localhost"),
        ("zeus@LOCALHOST", "zeus@localhost"),
        ("zeus@printer.local", "zeus@printer.local"),
        ("zeus@Mail.Test", "zeus@mail.test"),
        ("zeus@ä.test", "zeus@xn--4ca.test"),
        ("zeus@mail.internal", "zeus@mail.internal"),
    ],
)
def test_an_address_is_brought_into_its_normal_form_which_is_its_own(text, normal):
    assert addresses.normalize(text) == normal
    assert addresses.normalize(normal) == normal


@pytest.mark.parametrize(
    "text",
    [
        "", "zeus", "@", "zeus@", "@olimpus.com", "zeus@@olimpus.com", "zeus@hera@olimpus.com",
        ".zeus@olimpus.com", "zeus.@olimpus.com", "ze..us@olimpus.com", "ze us@olimpus.com", "ze,us@olimpus.com",
        "zeus@olimpus..com", "zeus@.olimpus.com", "zeus@olimpus.com.", "zeus@-olimpus.com", "zeus@olimpus-.com",
        "zeus@olimpus", "zeus@org", "zeus@a[255.255.255.255]", "zeus@255.255.255.255", "zeus@olimpus.123",
        "zeus@[255.255.255.255]", "zeus@[IPv6:::1]", "zeus@oli_mpus.com",
        '"zeus@olimpus.com', 'zeus"@olimpus.com', '"ze"us@olimpus.com', 'ze"us"@olimpus.com', '"zeus"hera@olimpus.com',
        '""@olimpus.com', '"zeus\\"@olimpus.com', '"zeus".hera@olimpus.com', '"ze\tus"@olimpus.com', '"ze\nus"@olimpus.com',
        "(comment)zeus@olimpus.com", "zeus@(comment)olimpus.com", "zeus @olimpus.com", " zeus@olimpus.com",
        f"{LONG_LOCAL}z@olimpus.com", f"zeus@{LONG_LABEL}z.com", f"zeus@{'.'.join(['z' * 60] * 5)}.com",
        "zeus@invalid", "zeus@x.invalid", "zeus@x.onion", "zeus@-x.local", "zeus@x..local", "zeus@.local",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(InvalidAddress):
        addresses.normalize(text)


@pytest.mark.parametrize(
    ("private", "accepted", "refused"),
    [
        ([], [], ["zeus@localhost", "zeus@a.local", "zeus@a.test", "zeus@mailhost"]),
        (["mailhost", "corp.onion"], ["zeus@mailhost", "zeus@a.corp.onion"], ["zeus@localhost", "zeus@a.onion"]),
        (["*"], ["zeus@mailhost", "zeus@localhost", "zeus@a.invalid", "zeus@olimpus.com"], ["zeus@a..b", "zeus@"]),
    ],
)
def test_private_domains_are_a_setting(settings, private, accepted, refused):
    settings.MERCURY_PRIVATE_DOMAINS = private

    assert [text for text in accepted + refused if addresses.is_address(text)] == accepted


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("hera@olimpus.com iris@olimpus.com", ["hera@olimpus.com", "iris@olimpus.com"]),
        (" hera@olimpus.com,, iris@olimpus.com ,", ["hera@olimpus.com", "iris@olimpus.com"]),
        ('"john, doe"@olimpus.com, hera@olimpus.com', ['"john, doe"@olimpus.com', "hera@olimpus.com"]),
        ('"a\\" b"@olimpus.com "c"@olimpus.com', ['"a\\" b"@olimpus.com', '"c"@olimpus.com']),
        ('"never ends@olimpus.com hera@olimpus.com', ['"never', "ends@olimpus.com", "hera@olimpus.com"]),
        (" , ", []),
        ("", []),
    ],
)
def test_blanks_and_commas_separate_outside_of_quotes(text, parts):
    assert addresses.split_addresses(text) == parts


@pytest.mark.parametrize(
    ("sender", "stored", "address"),
    [
        ('"john doe"@olimpus.com', '"john doe"@olimpus.com', '"john doe"@olimpus.com'),
        ('John <"john <doe>"@olimpus.com>', 'John <"john <doe>"@olimpus.com>', '"john <doe>"@olimpus.com'),
        ('"Doe, John" <john@olimpus.com>', '"Doe, John" <john@olimpus.com>', "john@olimpus.com"),
        ("<john@olimpus.com>", "john@olimpus.com", "john@olimpus.com"),
        ("John <john@OLIMPUS.com>", "John <john@olimpus.com>", "john@olimpus.com"),
    ],
)
def test_a_sender_keeps_its_name_and_its_quotes(sender, stored, address):
    judged = judge({**HELLO, "sender": sender})

    assert judged.message.sender == stored
    assert addresses.extract_address(judged.message.sender) == address


@pytest.mark.parametrize("inside", ["a", '\\"', "a "])
def test_a_quote_without_end_is_read_in_the_memory_of_its_text(inside):
    text = '"' + inside * 500_000
    tracemalloc.start()
    try:
        addresses.split_addresses(text)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 40 * len(text)  # the items; each step of a match was kept too, a hundred bytes a character


def test_a_name_of_any_length_is_read_once():
    """A form repeats a refused sender of up to 100,000 characters. Looked at again from each blank it took 20 s of a processor."""
    assert addresses.extract_address("zeus" + " " * 2_000_000 + "x") == "zeus" + " " * 2_000_000 + "x"
    assert addresses.extract_address("zeus" + " " * 2_000_000 + "<zeus@olimpus.com>") == "zeus@olimpus.com"


def test_what_was_stored_of_recipients_can_be_posted_again():
    given = ['"john, doe"@olimpus.com', "hera@printer.local"]
    first = judge({**HELLO, "recipient": given}).message

    assert [recipient.address for recipient in first.recipients] == given
    assert judge({**HELLO, "recipient": first.columns["recipient"]}).message.recipients == first.recipients


@pytest.mark.parametrize(
    "subject",
    [
        "\u200f1,234.50\u00a0\u200f₪",  # what CLDR makes of a price in Hebrew
        "\u061c-12\u00a0\u062f.\u0625.",  # of a negative one in Arabic
        "\u200e$\u200e5 off",
        "Order of \u2068\u05d0\u05d1\u05d2\u2069 is on its way",
        "\u2067a \u2066b\u2069 c\u2069",
        "=?utf-8?q?=E2=81=A8x=E2=81=A9?=",
    ],
)
def test_marks_that_turn_nothing_else_around_may_be_in_a_subject(subject):
    assert judge({**HELLO, "subject": subject}).message.subject == subject


@pytest.mark.parametrize(
    "subject",
    [
        "\u202egnp.exe",
        "\u202egnp\u202c.exe",
        "\u202ax\u202c",
        "\u2067never ended",
        "ended\u2069 \u2068again",
        "\u2066\u2066one end\u2069",
        "=?utf-8?q?=E2=81=A7x?=",
        "=?utf-8?q?=E2=80=AEx?=",
    ],
)
def test_marks_that_turn_what_follows_around_may_not(subject):
    errors = judge({**HELLO, "subject": subject}).errors

    assert [(error.field, error.code) for error in errors] == [("subject", "forbidden_character")]


def test_a_name_takes_no_marks_of_direction():
    for mark in "\u200f\u2068\u2069":
        assert isinstance(judge({**HELLO, "sender": f"Zeus{mark} <zeus@olimpus.com>"}), InvalidSubmission)


@pytest.mark.parametrize(
    "text", ["*", "@olimpus.com", "@localhost", "@a.test", '"john doe"@olimpus.com', "zeus@printer.local"]
)
def test_a_key_may_send_as_what_an_email_may_come_from(text):
    assert api_keys.normalize_sender(text) == text


@pytest.mark.parametrize("text", ["", "@", "olimpus.com", "@olimpus", "a@b@olimpus.com", "zeus@mailhost", "@.com"])
def test_a_key_may_not_send_as_anything_else(text):
    with pytest.raises(ValueError, match="is not a valid email address"):
        api_keys.normalize_sender(text)
