"""Shortcuts of intake, for what most emails are made of: they give what the whole rule gives, for any input."""

from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mails.intake import submission_fields
from mails.intake.submission import judge
from mails.message import addresses

pytestmark = pytest.mark.one_leg

_LABELS = st.sampled_from(
    ["olimpus", "OLIMPUS", "com", "c--n", "xn--4ca", "XN--4CA", "localhost", "local", "test", "-a", "a-", "1", "z" * 63]
)
_DOMAINS = st.lists(_LABELS | st.text("az09.-@_ä", max_size=4), min_size=1, max_size=6).map(".".join)
_LOCALS = (
    st.sampled_from(["zeus", "Info", "POSTMASTER", "z" * 64, "z" * 65, '"zeus"', "=?utf-8?q?=0a?=", "mailto:zeus"])
    | st.text("aZ0!#$%&'*+/=?^_`{|}~-.", max_size=8)
    | st.text(st.characters(codec=None), max_size=8)
)
_ADDRESSES = st.builds(lambda local, domain: f"{local}@{domain}", _LOCALS, _DOMAINS)
_TEXTS = (
    st.text(st.sampled_from("az ,<>@\"'\\;:=?_-\u2066\u2069\u200f\ud800\0\n\té"), max_size=30)
    | st.text(st.characters(codec=None), max_size=20)
    | st.sampled_from(["=?utf-8?b?DQo=?=", "=?utf-8?q?=E2=81=A6?=", " News ", "x" * 513])
)
_VALUES = (
    _ADDRESSES | _TEXTS | st.builds(lambda text, end: f"{text}{end}", _TEXTS, _ADDRESSES) | st.none() | st.integers()
)
_EMAILS = st.fixed_dictionaries(
    {"sender": _VALUES, "recipient": _VALUES | st.lists(_VALUES, max_size=3), "subject": _TEXTS, "content": _TEXTS},
    optional={
        "cc": _VALUES,
        "reply_to": _VALUES,
        "to": _VALUES,
        "html": _TEXTS,
        "headers": st.dictionaries(_TEXTS, _TEXTS),
    },
)


@given(_ADDRESSES)
@example("zeus@olimpus.com")
@example("zeus.@olimpus.com")
@example("zeus@" + "a." * 110 + "com")
@settings(max_examples=500)
def test_a_plain_address_has_the_normal_form_that_the_whole_check_gives(text):
    if plain := addresses.normalize_plain(text):
        with mock.patch.object(addresses, "normalize_plain", return_value=""):
            assert addresses.normalize(text) == plain


@given(_EMAILS)
@example(
    {"sender": "zeus@olimpus.com", "recipient": "hera@OLIMPUS.com", "subject": " =?utf-8?q?=0a?= ", "content": "a"}
)
@settings(max_examples=300, deadline=None)
def test_an_email_is_judged_as_without_them(fields):
    judged = judge(fields)

    with (
        mock.patch.object(addresses, "normalize_plain", return_value=""),
        mock.patch.object(submission_fields, "is_plain", return_value=False),
    ):
        assert judge(fields) == judged


def test_most_addresses_take_the_shortcut():
    plain = ["zeus@olimpus.com", "hera.teleia+news@mount-olympus.co.uk", "zeus@localhost", "a@xn.com"]

    assert [addresses.normalize_plain(text) for text in plain] == plain
