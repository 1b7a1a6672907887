"""Encoded words are read one by one, as the most liberal mail program would."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercury.lib.mail import encoded_words, printable


@pytest.mark.parametrize(
    ("header", "text"),
    [
        ("Hi", "Hi"),
        ("=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
        ("=?utf-8?B?R3LDvMOfZQ?=", "Grüße"),  # padding is missing
        ("=?iso-8859-1?q?Gr=FC=DFe?= to you", "Grüße to you"),
        ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
        ("=?utf-8?q?a?= and =?utf-8?q?b?=", "a and b"),
        ("=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"),  # one character in two words
        ("=?utf-8*de?q?a_b?=", "a b"),
        ("=?utf-8?q?=FF?= =?utf-8?q?hi?=", "\ufffdhi"),
        ("=?klingon?q?=FF?= =?utf-8?q?hi?=", "=?klingon?q?=FF?= hi"),
        ("=?utf-8?b?%%%?= =?utf-8?q?hi?=", "hi"),
        ("=?rot13?q?uv?=", "=?rot13?q?uv?="),
        ("=?utf-8?q?a", "=?utf-8?q?a"),
        ("=???=", "=???="),
    ],
)
def test_a_header_is_read(header, text):
    assert encoded_words.read(header) == text


BAD = ["\r\nBcc: x", "\u202egnp.exe", "\u2028", "\x1b[31m", "\x00"]


def _q(text, charset="utf-8"):
    return f"=?{charset}?q?{''.join(f'={octet:02X}' for octet in text.encode(charset))}?="


def _b(text, charset="utf-8"):
    return f"=?{charset}?b?{base64.b64encode(text.encode(charset)).decode()}?="


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("word", [_q, _b])
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "=?utf-8?q?=FF?= {}",
        "{} =?utf-8?q?=FF?=",
        "=?klingon?q?=FF?= {}",
        "=?utf-8?b?!?= {}",
        "=?utf-8?q?=FF?={}",
        "x{}x",
    ],
)
def test_a_mark_hides_behind_no_other_word(bad, word, around):
    assert printable.find_unprintable(encoded_words.list_readings(around.format(word(bad))))


@pytest.mark.parametrize(
    "header",
    [
        "=?utf-8?q?=E2=80?= =?utf-8?q?=AE?=",  # U+202E in two words
        "=?klingon?q?a=0D=0ABcc:_x?=",
        "=?utf-16-le?b?LiA=?=",  # U+202E
        "=?utf-7?q?+IC4-?=",
        "=?iso-8859-1?q?=FF=0D=0A?=",
        "=?utf-8?q?=FF=0D=0ABcc:_x?=",
        "=?utf-8?b?/w0K?=",
    ],
)
def test_a_mark_is_found_in_whatever_way_it_is_written(header):
    assert printable.find_unprintable(encoded_words.list_readings(header))


@given(st.text("=?utf-8?qQbB *AaZz09+/_\r\n\u202e klingon", max_size=80))
def test_reading_raises_nothing(text):
    encoded_words.read(text)
    encoded_words.list_readings(text)
