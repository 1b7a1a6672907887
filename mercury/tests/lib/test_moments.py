"""Points in time as people and programs write them."""

import datetime as dt

import pytest

from mercury.lib.moments import MomentError, format_minute, join_zone, list_zones, parse_moment

SIX = dt.datetime(2026, 12, 24, 18, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-24T18:00:00Z",
        "2026-12-24 19:00+01:00",
        "20261224T180000Z",
        "2026-12-24T19:00[Europe/Berlin]",
        "2026-12-24T19:00 [Europe/Berlin]",
        " 2026-12-24T19:00+01:00[Europe/Berlin] ",
    ],
)
def test_a_time_with_its_zone_is_read(text):
    assert parse_moment(text) == SIX


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "invalid"),
        ("[UTC]", "invalid"),
        ("24.12.2026 18:00", "invalid"),
        ("2026-02-30T18:00Z", "invalid"),
        ("2026-12-24", "no_zone"),
        ("2026-12-24T18:00", "no_zone"),
        ("2026-12-24T18:00[Mars/Olympus]", "no_such_zone"),
        ("2026-12-24T18:00[../../etc/passwd]", "no_such_zone"),
        ("2026-12-24T18:00[]", "no_such_zone"),
        ("2026-12-24T18:00+05:00[Europe/Berlin]", "zone_differs"),
        ("0001-01-01T00:00+14:00", "out_of_range"),
        ("9999-12-31T23:59[America/New_York]", "out_of_range"),
        ("2026-03-29T02:30[Europe/Berlin]", "skipped_hour"),
        ("2026-10-25T02:30[Europe/Berlin]", "repeated_hour"),
    ],
)
def test_another_text_is_refused_with_a_code(text, code):
    with pytest.raises(MomentError) as refused:
        parse_moment(text)

    assert refused.value.code == code


def test_an_hour_that_a_zone_shows_twice_can_be_written_with_its_offset():
    assert parse_moment("2026-10-25T02:30+01:00[Europe/Berlin]") == dt.datetime(2026, 10, 25, 1, 30, tzinfo=dt.UTC)


def test_the_fault_of_an_ambiguous_time_names_both():
    with pytest.raises(MomentError, match="2026-10-25T00:30:00Z or 2026-10-25T01:30:00Z"):
        parse_moment("2026-10-25T02:30[Europe/Berlin]")


def test_a_local_time_is_joined_with_its_zone_unless_it_has_an_offset():
    assert join_zone("2026-12-24T19:00", "Europe/Berlin") == "2026-12-24T19:00[Europe/Berlin]"
    assert join_zone("2026-12-24T19:00Z", "Europe/Berlin") == "2026-12-24T19:00Z"
    assert join_zone("2026-12-24T19:00+01:00", "UTC") == "2026-12-24T19:00+01:00"


def test_the_zones_begin_with_utc():
    assert list_zones()[0] == "UTC"
    assert "Europe/Berlin" in list_zones()


def test_seconds_are_shown_where_there_are_any():
    assert format_minute(SIX) == "2026-12-24 18:00 UTC"
    assert format_minute(SIX.replace(second=5)) == "2026-12-24 18:00:05 UTC"
