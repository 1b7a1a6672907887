"""Times of a submission: `send_at` and `expires_at`."""

import datetime as dt

import pytest

from mails.dispatch import wake
from mails.intake.receipts import Refused, Stored
from mails.models import Mail
from mails.reporting import search
from mails.states import Status
from mails.tests.builders import API, HELLO, a_mail, a_rejected_mail, event_names, reloaded, submit
from mails.timeline.summary import choose_badge, summarize
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db
DAY = dt.timedelta(days=1)


def at(**ahead):
    """Return a time that is so far from now."""
    return database_clock.now() + dt.timedelta(**ahead)


def test_a_scheduled_email_is_queued_and_due_at_its_time():
    send_at = at(days=40)

    mail = reloaded(a_mail(send_at=send_at.isoformat()))

    assert (mail.status, mail.send_at, mail.next_attempt_at) == (Status.QUEUED, send_at, send_at)
    assert mail.expires_at == send_at + 3 * DAY
    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]


def test_an_email_without_times_has_none():
    mail = reloaded(a_mail(send_at=None, expires_at=""))

    assert (mail.send_at, mail.next_attempt_at) == (None, mail.created_at)


def test_a_scheduled_email_says_when_it_is_sent():
    mail = a_mail(send_at=at(days=40).isoformat())

    assert choose_badge(mail).word == "Scheduled"
    assert summarize(mail, database_clock.now()).startswith("Scheduled: to be sent at ")


def test_expires_at_is_kept():
    send_at, expires_at = at(days=1), at(days=1, minutes=10)

    mail = a_mail(send_at=send_at.isoformat(), expires_at=expires_at.isoformat())

    assert reloaded(mail).expires_at == expires_at


def test_a_time_that_is_just_past_is_now():
    mail = reloaded(a_mail(send_at=at(minutes=-4).isoformat()))

    assert mail.next_attempt_at == mail.created_at
    assert mail.expires_at == mail.created_at + 3 * DAY
    assert not mail.is_scheduled(mail.created_at)


@pytest.mark.parametrize(
    ("field", "value", "code", "words"),
    [
        ("send_at", 1798000000, "wrong_type", "It must be a time as text"),
        ("send_at", "tomorrow", "invalid", "'tomorrow' is not a date with a time. Write ISO 8601"),
        ("send_at", "2026-12-24T18:00:00", "no_zone", "'2026-12-24T18:00:00' has no time zone. Write"),
        ("send_at", "9999-12-31T23:59:59Z", "too_late", "9999-12-31 23:59:59 UTC is too far away: at most 365 d ahead"),
        ("send_at", "9999-12-31T23:59:59-12:00", "out_of_range", "has a year out of range"),
        ("send_at", "2016-11-06T18:00:00Z", "past", "2016-11-06 18:00 UTC is past"),
        ("send_at", "2027-03-28T02:30[Europe/Berlin]", "skipped_hour", "Write 2027-03-28T03:30:00 or another time."),
        ("expires_at", "2016-11-06T18:00:00Z", "past", "2016-11-06 18:00 UTC is past"),
        ("expires_at", "9999-12-31T23:59:59Z", "too_late", "is too far away"),
    ],
)
def test_a_wrong_time_is_refused_with_its_value_and_the_remedy(field, value, code, words):
    refused = submit({**HELLO, field: value}, client=API)

    assert isinstance(refused, Refused)
    [error] = refused.errors
    assert (error.field, error.code) == (field, code)
    assert words in error.detail


def test_an_email_cannot_expire_before_it_is_sent():
    refused = submit({**HELLO, "send_at": at(days=2).isoformat(), "expires_at": at(days=1).isoformat()})

    assert isinstance(refused, Refused)
    [error] = refused.errors
    assert (error.field, error.code) == ("expires_at", "past")
    assert "before the email is sent" in error.detail


def test_how_far_ahead_is_a_setting(settings):
    settings.MERCURY_MAX_SCHEDULE = dt.timedelta(hours=1)

    assert isinstance(submit({**HELLO, "send_at": at(minutes=50).isoformat()}), Stored)
    assert isinstance(submit({**HELLO, "send_at": at(minutes=70).isoformat()}), Refused)


def test_a_rejected_email_is_kept_without_a_schedule():
    assert a_rejected_mail(**{**HELLO, "send_at": "2016-11-06T18:00:00Z"}).send_at is None


def test_a_repeated_request_gets_its_answer_also_when_its_time_is_past(monkeypatch):
    fields = {**HELLO, "send_at": at(minutes=1).isoformat()}
    first = submit(fields, client=API, key="once")
    later = database_clock.now_ns() + 3600 * 10**9
    monkeypatch.setattr(database_clock, "now_ns", lambda: later)

    again = submit(fields, client=API, key="once")

    assert isinstance(first, Stored)
    assert isinstance(again, Stored)
    assert (again.mail.pk, again.replayed) == (first.mail.pk, True)
    assert isinstance(submit(fields, client=API, key="other"), Refused)


@pytest.mark.parametrize(("ahead", "woken"), [({"hours": 1}, []), ({"seconds": 2}, ["text"])])
def test_only_a_time_that_is_near_wakes_a_worker(ahead, woken, monkeypatch, django_capture_on_commit_callbacks):
    queues = []
    monkeypatch.setattr(wake, "wake_workers", queues.append)

    with django_capture_on_commit_callbacks(execute=True):
        a_mail(send_at=at(**ahead).isoformat())

    assert queues == woken


def test_lists_tell_scheduled_emails_from_queued_ones():
    scheduled, queued = a_mail(send_at=at(days=1).isoformat()), a_mail()

    for name, mail in (("scheduled", scheduled), ("queued", queued)):
        assert list(Mail.objects.filter(search.STATES[name][1])) == [mail]
        assert list(search.narrow(Mail.objects.all(), f"is:{name}")) == [mail]


def test_a_search_for_an_unknown_state_names_the_known_ones():
    with pytest.raises(search.UnknownSearchWord, match="Known: queued scheduled"):
        search.narrow(Mail.objects.all(), "is:late")
