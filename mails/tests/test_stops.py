"""What keeps a mail from going out that is none of its own."""

import datetime as dt

import pytest

from mails import house, pauses, stops, timeline
from mails.lanes import Lane
from mails.models import Mail
from mails.states import Status
from mails.stops import NO_STOP
from mails.tests.builders import a_mail, reloaded

pytestmark = pytest.mark.django_db
NOW = dt.datetime(2026, 11, 24, 10, 0, tzinfo=dt.UTC)


def test_a_mail_under_a_hold_and_a_pause_is_told_both_the_house_first():
    mail = a_mail()
    house.place(by="user:hermes")
    pauses.place(Lane.TEXT, by="user:hermes")

    stop = stops.over(mail)
    told = timeline.verdict(mail, NOW, stop)

    assert told.index("The house is held since") < told.index("The lane is paused since")
    assert " by hermes: nothing is sent until it is released. The lane" in told
    assert stop.mark.startswith("house-")
    assert ".lane-" in stop.mark


def test_a_pause_of_another_lane_does_not_stop_it():
    pauses.place(Lane.BULK, by="user:hermes")

    assert stops.over(a_mail()) == NO_STOP


def test_a_mail_that_is_not_on_its_way_is_stopped_by_nothing_and_costs_no_query(django_assert_num_queries):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(status=Status.CANCELLED, finished_at=NOW)
    house.place(by="user:hermes")
    ended = reloaded(mail)

    with django_assert_num_queries(0):
        stop = stops.over(ended)

    assert stop == NO_STOP
