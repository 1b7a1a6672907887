"""Where the events since a moment begin, and how many there are."""

import datetime as dt
import uuid

import pytest
from django.utils import timezone

from mails.events import outbox
from mails.models import Event

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


def record(*seconds: float) -> list[int]:
    """Record an event for each of these seconds after noon, in this order, and return their ids."""
    moments = [int((NOON + second * SECOND).timestamp()) * 10**9 for second in seconds]
    return [
        Event.objects.create(mail_id=uuid.uuid4(), created_at=at, created_by="test", event="seen").pk for at in moments
    ]


def test_the_position_of_a_moment_is_before_its_first_event():
    ids = record(*range(0, 600, 10))

    assert outbox.find_position(NOON - SECOND) == ids[0] - 1
    assert outbox.find_position(NOON) == ids[0] - 1
    assert outbox.find_position(NOON + SECOND) == ids[1] - 1
    assert outbox.find_position(NOON + 300 * SECOND) == ids[30] - 1
    assert outbox.find_position(NOON + 590 * SECOND) == ids[-1] - 1
    assert outbox.find_position(NOON + 591 * SECOND) == ids[-1]


def test_events_whose_ids_are_in_another_order_than_their_times_are_all_after_the_position():
    ids = record(0, 100, 190, 140, 180, 130, 170, 300)

    assert outbox.find_position(NOON + 150 * SECOND) == ids[2] - 1
    assert outbox.find_position(NOON + 185 * SECOND) == ids[2] - 1
    assert outbox.find_position(NOON + 200 * SECOND) == ids[7] - 1


@pytest.mark.parametrize(("year", "index"), [(1, 0), (9999, 2)])
def test_a_moment_may_be_any_that_can_be_written(year, index):
    ids = record(0, 100)

    assert outbox.find_position(dt.datetime(year, 1, 2, tzinfo=dt.UTC)) == [ids[0] - 1, ids[0], ids[1]][index]


def test_without_events_the_position_is_before_the_first():
    assert outbox.find_position(timezone.now()) == 0


def test_events_are_counted_and_many_of_them_estimated_from_their_ids(monkeypatch):
    ids = record(*range(5))

    assert str(outbox.count(ids[0] - 1, ids[0])) == "1 event"
    assert outbox.count(ids[0], ids[-1]) == outbox.EventCount(events=4, is_exact=True)
    assert str(outbox.count(ids[0], 10**9)) == f"about {10**9 - ids[0]:,} events"
