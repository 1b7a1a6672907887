"""Events lie in tables of a month each on PostgreSQL: made ahead, never in the way of an insert, dropped whole."""

import datetime as dt
import uuid

import pytest
from django.db import DatabaseError, connection, transaction

from mails.maintenance import partitions
from mails.maintenance.partitions import Month
from mails.models import Event, first_id
from mails.states import Status
from mails.tests.builders import a_mail, event_names
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db
on_postgresql = pytest.mark.full

NOW = dt.datetime(2026, 11, 24, 12, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def _only_where_there_are_months(request):
    if request.node.get_closest_marker("full") and connection.vendor != "postgresql":
        pytest.skip("SQLite has one table")


def an_event(moment: dt.datetime, mail_id: uuid.UUID | None = None) -> Event:
    mail_id = mail_id or first_id(moment)
    return Event.objects.create(
        mail_id=mail_id, created_at=int(moment.timestamp()) * 10**9, created_by="zeus", event="NOTE"
    )


def tables() -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT tableoid::regclass::text FROM mails_event")
        return sorted(name for (name,) in cursor.fetchall())


def test_this_month_and_the_next_three_are_wanted():
    assert [month.table[-7:] for month in partitions.list_wanted(NOW)] == ["2026_11", "2026_12", "2027_01", "2027_02"]


def test_a_month_ends_where_the_next_begins():
    assert Month(2026, 12).bounds[1] == Month(2026, 12).next.bounds[0]
    assert Month(2026, 12).next == Month(2027, 1)


@on_postgresql
def test_an_event_lies_in_the_table_of_its_month():
    now = database_clock.now()

    a_mail()

    assert tables() == [Month.of(now).table]


@on_postgresql
def test_missing_months_are_made_once():
    later = database_clock.now() + dt.timedelta(days=300)

    assert len(partitions.prepare(later)) == 4
    assert partitions.prepare(later) == []
    assert Month.of(later) in partitions.list_existing()


@on_postgresql
def test_an_event_that_no_month_is_there_for_is_kept_and_given_one():
    far = NOW + dt.timedelta(days=900)
    event = an_event(far)
    assert tables() == ["mails_event_rest"]

    partitions.prepare(database_clock.now())

    assert tables() == [Month.of(far).table]
    assert Event.objects.get() == event


@on_postgresql
def test_a_month_is_dropped_whole_and_keeps_the_events_of_mails_that_are_still_there():
    mail = a_mail()
    old = NOW - dt.timedelta(days=400)
    kept = first_id(old)
    mail.pk, mail.status = kept, Status.DONE
    mail.save(force_insert=True)
    an_event(old, kept)
    an_event(old, uuid.UUID(int=kept.int + 1))
    partitions.prepare(old)

    assert partitions.list_droppable(NOW) == [Month.of(old)]
    partitions.drop(Month.of(old))

    assert [event.mail_id for event in Event.objects.filter(event="NOTE")] == [kept]
    assert partitions.list_droppable(NOW) == []


@on_postgresql
def test_a_month_without_a_mail_leaves_no_table():
    old = NOW - dt.timedelta(days=400)
    an_event(old)
    partitions.prepare(old)

    partitions.drop(Month.of(old))

    assert Month.of(old) not in partitions.list_existing()
    assert not Event.objects.exists()


@on_postgresql
def test_every_month_refuses_to_change_an_event():
    a_mail()

    for table in ("mails_event", tables()[0]):
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"DELETE FROM {table}")


@on_postgresql
def test_the_events_of_a_mail_are_looked_for_in_no_month_before_it():
    partitions.prepare(NOW - dt.timedelta(days=300))
    mail = a_mail()

    plan = Event.objects.of(mail.pk).order_by("id").explain()

    assert Month.of(mail.created_at).table in plan
    assert Month.of(NOW - dt.timedelta(days=300)).table not in plan


def test_all_events_of_a_mail_are_found():
    mail = a_mail()

    assert [event.event for event in Event.objects.of(mail.pk)] == event_names(mail)


@pytest.mark.parametrize("number", [0, 2**128 - 1])
def test_an_id_that_no_mail_has_finds_nothing(number):
    assert not Event.objects.of(uuid.UUID(int=number)).exists()
