import contextlib
import json
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mercury.lib.rest import strict_json
from mercury.lib.rest.strict_json import MAX_DEPTH, MAX_VALUES, NotStrictJSON, loads

pytestmark = pytest.mark.one_leg


@pytest.mark.parametrize(
    ("body", "code", "pointer"),
    [
        (b"", "not_json", ""),
        (b"{", "not_json", ""),
        (b"hello", "not_json", ""),
        (b'{"a": 1} x', "not_json", ""),
        (b'{"a": NaN}', "not_json", ""),
        (b'{"a": -Infinity}', "not_json", ""),
        (b'{"a": "\n"}', "not_json", ""),
        (b"\xef\xbb\xbf{}", "not_json", ""),
        (b'{"a": "\xff"}', "not_utf8", ""),
        (b'{"a": "\xed\xa0\x80"}', "not_utf8", ""),
        ('{"a": 1}'.encode("utf-16"), "not_utf8", ""),
        (b"[]", "not_an_object", ""),
        (b"null", "not_an_object", ""),
        (b'"text"', "not_an_object", ""),
        (b'{"a": 1, "a": 2}', "duplicate_key", "/a"),
        (b'{"a": "\\u0000"}', "forbidden_character", "/a"),
        (b'{"a\\u0000": 1}', "forbidden_character", ""),
        (b'{"a": ["x", {"b/c": "\\ud800"}]}', "forbidden_character", "/a/1/b~1c"),
        (b'{"a": 1e999}', "number_too_large", ""),
        (b'{"a": ' + b"9" * 5000 + b"}", "number_too_large", ""),
        (b'{"a": ' * 33 + b"1" + b"}" * 33, "too_deep", ""),
        (b'{"a": [' + b"[]," * MAX_VALUES + b"1]}", "too_many_values", ""),
        (b'{"a": [' + b"1," * MAX_VALUES + b"1]}", "too_many_values", ""),
        (b'{"a": [' + b'{"b":1},' * MAX_VALUES + b"1]}", "too_many_values", ""),
    ],
)
def test_what_is_refused_is_named(body, code, pointer):
    with pytest.raises(NotStrictJSON) as refused:
        loads(body)

    assert (refused.value.code, refused.value.pointer) == (code, pointer)


def test_what_is_fine_is_read():
    assert loads(b'{"a": [1, 2.5, true, null, "\\ud83d\\ude00 \xc3\xa9"]}') == {"a": [1, 2.5, True, None, "😀 é"]}
    assert loads(b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH)


def test_as_many_values_as_may_be_are_read():
    assert len(loads(b'{"a": [' + b"1," * (MAX_VALUES - 3) + b"1]}")["a"]) == MAX_VALUES - 2


def test_commas_in_text_are_no_values():
    body = {"content": "zeus, hera, hades\n" * MAX_VALUES, "subject": '",' * MAX_VALUES}

    assert loads(json.dumps(body).encode()) == body


def test_brackets_in_text_are_no_depth():
    body = {"content": '["{[' * 1000, "a": "\\" * 101 + '"[['}

    assert loads(json.dumps(body).encode()) == body


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 10_000_000,
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": "' + b'\\"[' * 1_000_000,
        b'{"a": "' + b"\\" * 2_000_001 + b"[" * 40,
        b'"' * 1_000_001 + b"[" * 40,
        b'{"a": [' + b"[]," * 1_000_000 + b"[]]}",
    ],
    ids=["brackets", "objects", "closed", "escaped-quotes", "backslashes", "quotes", "flat"],
)
def test_no_body_takes_long(body):
    begin = time.process_time()
    with contextlib.suppress(NotStrictJSON):
        loads(body)

    assert time.process_time() - begin < 5


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_no_bytes_raise_anything_else(body):
    with contextlib.suppress(NotStrictJSON):
        assert isinstance(loads(body), dict)


_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _json, max_size=4), st.booleans())
def test_any_object_is_read_as_it_is_or_refused_for_a_character(value, ascii_only):
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")

    if "\\" in repr(value):  # that is how repr shows NUL and surrogates, among others
        with contextlib.suppress(NotStrictJSON):
            assert loads(body) == value
    else:
        assert loads(body) == value


_TOKENS = r'[ ] { } , : " "a" "b:c" "a": "a":1, "\u003a" "\u0000" "\ud800" 1 -0 1.0 2e3 null true NaN \ 18446744073709551616 é'
_tokens = st.sampled_from([*_TOKENS.split(), "\ufeff", "\x00", "\n", " "])


def _nest(inner):
    keys = st.sampled_from(['"a"', '"b:c"', r'"\u003a"'])
    pairs = st.builds(lambda key, value: f"{key}:{value}", keys, inner)
    lists, objects = (st.lists(values, max_size=3).map(",".join) for values in (inner, pairs))
    return lists.map(lambda text: f"[{text}]") | objects.map(lambda text: f"{{{text}}}")


def _load_as(load, body):
    try:
        return repr(load(body))
    except NotStrictJSON as refused:
        return refused.code, refused.detail, refused.pointer


@given(st.lists(_tokens, max_size=12).map("".join) | st.recursive(_tokens, _nest, max_leaves=6))
@example('{"a":1,"\\u003a":2,"a":3}')
@example('{"a:":1,"b":{"a":1,"a":2}}')
@example("[" * 33 + "]" * 33)
@settings(max_examples=500)
def test_the_quick_parser_reads_nothing_else_than_the_one_that_explains(text):
    body = text.encode()

    assert _load_as(strict_json.loads_any, body) == _load_as(strict_json._load_and_explain, body)
