"""The bytes that a Range header asks for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mercury.lib.byte_ranges import ByteRange, RangeNotSatisfiable, parse_range

HUGE = "9" * 30


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        ("bytes=0-", 0, 100),
        ("bytes=99-", 99, 100),
        ("bytes=10-19", 10, 20),
        ("bytes=10-1000", 10, 100),
        (f"bytes=10-{HUGE}", 10, 100),
        ("bytes=-1", 99, 100),
        ("bytes=-100", 0, 100),
        (f"bytes=-{HUGE}", 0, 100),
        ("Bytes= 5-9 ", 5, 10),
        ("bytes=00-009", 0, 10),
    ],
)
def test_a_range_is_cut_to_the_file(header: str, start: int, stop: int) -> None:
    assert parse_range(header, 100) == ByteRange(start, stop, 100)


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", f"bytes={HUGE}-", "bytes=-0"])
def test_a_range_without_a_byte_cannot_be_satisfied(header: str) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 100)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=--5",
        "bytes=-5-9",
        "bytes=9-5",
        "bytes=5--1",
        "bytes=+1-5",
        "bytes=1.5-2",
        "bytes=a-b",
        "bytes=٣-٥",
        "bytes=0-1,5-6",
        "bytes=0-,0-,0-",
        "lines=0-5",
        "bytes=0-5\n",
        f"bytes={'1' * 5000}-",
        f"bytes={'0-1,' * 10_000}",
    ],
)
def test_what_is_no_single_range_is_the_whole_file(header: str) -> None:
    assert parse_range(header, 100) is None


@given(st.text() | st.from_regex(r"bytes=[0-9 ,-]{0,20}", fullmatch=True), st.integers(1, 200))
def test_any_header_has_bytes_of_the_file(header: str, size: int) -> None:
    try:
        found = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    assert found is None or 0 <= found.start < found.stop <= size


def test_a_range_describes_itself() -> None:
    found = ByteRange(10, 20, 100)
    assert found.length == 10
    assert found.content_range == "bytes 10-19/100"
