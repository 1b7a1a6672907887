"""A reader: each record is an email once or in the dead letters, whatever fails and wherever it dies."""

import datetime as dt

import pytest
from django.db import OperationalError
from django.utils import timezone

from mails.access import api_keys
from mails.access.key_limits import LimitName
from mails.models import ApiKey, Event, Mail, SubmissionStream
from mails.reporting.submission_stream_status import list_submission_streams
from mails.states import Source
from mails.stream_pauses import pause, resume
from mails.submission_streams import acceptance, state
from mails.tests.submission_streams.builders import AWAY, ListSource, a_key, a_reader, an_email
from mercury.lib.storages.errors import StorageUnavailable

pytestmark = pytest.mark.django_db(transaction=True)

POISON = b"{"


class Killed(BaseException):
    """What a test raises where a process would die."""


def subjects() -> list[str]:
    return sorted(Mail.objects.values_list("subject", flat=True))


def get_row() -> SubmissionStream:
    return SubmissionStream.objects.get()


def test_emails_are_those_of_the_key_and_say_that_they_came_through_a_stream():
    key, source = a_key(), ListSource(an_email("a"), an_email("b"))

    done = a_reader(source, key.prefix).run_pass()

    assert done.records == 2
    assert subjects() == ["a", "b"]
    assert source.position == 2
    assert set(Mail.objects.values_list("api_key", "source")) == {(key.pk, Source.STREAM)}
    assert '"source": "stream"' in Event.objects.filter(event="NEW")[0].blob
    row = get_row()
    assert (row.consumed, row.accepted, row.rejected, row.last_error, row.lag) == (2, 2, 0, "", 0)


def test_a_paused_stream_is_left_and_read_again_once_it_is_resumed():
    key, source = a_key(), ListSource(an_email("a"))
    reader = a_reader(source, key.prefix)
    reader.run_pass()
    source.values.append(b'{"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "subject": "b"}')
    SubmissionStream.objects.update(seen_at=None)

    assert pause(SubmissionStream, "list", by="user:hermes")
    paused = reader.run_pass()
    assert (paused.records, paused.is_failing, paused.wait > 0) == (0, False, True)
    assert (subjects(), source.closed) == (["a"], 1)
    [status] = list_submission_streams(timezone.now())
    assert (status.state, status.paused_by, status.lag) == ("paused", "user:hermes", None)
    assert status.seen_at is not None

    assert resume(SubmissionStream, "list", by="user:hermes")
    reader.run_pass()
    assert subjects() == ["a", "b"]
    assert list_submission_streams(timezone.now())[0].state == "reading"


def test_a_group_that_waits_when_its_stream_is_paused_is_one_email_each_later():
    key, source = a_key(emails_per_minute=1), ListSource(an_email("a"), an_email("b"))
    reader = a_reader(source, key.prefix)
    assert reader.run_pass().wait > 0
    assert subjects() == ["a"]

    pause(SubmissionStream, "list", by="user:hermes")
    reader.run_pass()
    resume(SubmissionStream, "list", by="user:hermes")
    ApiKey.objects.update(emails_per_minute=None)
    reader.run_pass()

    assert subjects() == ["a", "b"]


@pytest.mark.parametrize("step", ["accept", "reject", "acknowledge", "count"])
def test_a_reader_that_dies_loses_and_doubles_nothing(monkeypatch, step):
    key, source = a_key(), ListSource(an_email("a"), POISON, an_email("b"))
    dying = a_reader(source, key.prefix)
    with monkeypatch.context() as patched:
        if step == "accept":
            patched.setattr("mails.submission_streams.acceptance.accept", _die)
        elif step == "count":
            patched.setattr(state.StreamState, "note_finished", _die)
        else:
            source.fails = {step: Killed()}
        with pytest.raises(Killed):
            dying.run_pass()
    source.fails = {}

    a_reader(source, key.prefix).run_pass()

    assert subjects() == ["a", "b"]
    assert set(source.codes) == {"not_json"}
    assert source.position == 3


def _die(*arguments: object, **options: object) -> None:
    raise Killed


def test_the_same_id_is_one_email_and_with_another_body_it_is_rejected():
    first = an_email("a", idempotency_key="order-17")
    source = ListSource(first, first, an_email("other", idempotency_key="order-17"))

    a_reader(source, a_key().prefix).run_pass()

    assert subjects() == ["a"]
    assert source.codes == ["idempotency_key_reused"]
    assert (get_row().consumed, get_row().accepted, get_row().rejected) == (3, 1, 1)


def test_every_kind_of_poison_is_rejected_with_its_reason_and_stops_no_other():
    source = ListSource(
        an_email("first"),
        POISON,
        an_email(colour="red"),
        an_email(recipient=7),
        an_email(sender="hades@underworld.com"),
        an_email(attachments=[{"file": "00000000-0000-0000-0000-000000000000"}]),
        an_email("last"),
    )

    a_reader(source, a_key().prefix).run_pass()

    assert subjects() == ["first", "last"]
    assert source.codes == ["not_json", "invalid_mail", "invalid_mail", "sender_not_allowed", "invalid_mail"]
    pointers = [letter.rejection.errors[0].pointer for letter in source.letters]
    assert pointers == ["", "/colour", "/recipient", "/sender", "/attachments/0/file"]
    assert "underworld" in source.letters[3].rejection.detail


def test_an_email_that_makes_intake_fail_stops_no_other(monkeypatch):
    accept = acceptance.accept

    def stumble(submissions, *, client):
        if any(submission.fields["subject"] == "b" for submission in submissions):
            raise RuntimeError("a bug")
        return accept(submissions, client=client)

    monkeypatch.setattr("mails.submission_streams.acceptance.accept", stumble)
    source = ListSource(an_email("a"), an_email("b"), an_email("c"))

    a_reader(source, a_key().prefix).run_pass()

    assert subjects() == ["a", "c"]
    assert source.codes == ["not_stored"]


@pytest.mark.parametrize("error", [OperationalError("away"), StorageUnavailable("full")])
def test_a_fault_of_mercury_is_no_fault_of_the_record(monkeypatch, error):
    def fail(*arguments: object, **options: object) -> None:
        raise error

    source = ListSource(an_email("a"), POISON)
    reader = a_reader(source, a_key().prefix)
    with monkeypatch.context() as patched:
        patched.setattr("mails.submission_streams.acceptance.accept", fail)
        for _ in range(2):
            try:
                assert reader.run_pass().is_failing
            except OperationalError:
                reader.keep()
    assert (source.position, source.letters, source.closed) == (0, [], 0)

    reader.run_pass()

    assert subjects() == ["a"]
    assert source.codes == ["not_json"]
    assert source.position == 2


def test_records_wait_for_the_limits_of_the_key():
    key, source = a_key(emails_per_minute=2), ListSource(*(an_email(name) for name in "abc"))
    reader = a_reader(source, key.prefix)

    waits = reader.run_pass()
    reader.keep()

    assert subjects() == ["a", "b"]
    assert 0 < waits.wait <= LimitName.EMAILS.seconds
    assert (source.position, source.kept, source.letters) == (2, 1, [])  # what is finished is not read again
    assert "1 record waits" in get_row().last_error
    assert get_row().consumed == 2
    ApiKey.objects.update(emails_per_minute=None)
    reader.run_pass()
    assert subjects() == ["a", "b", "c"]
    assert source.position == 3
    assert (get_row().accepted, get_row().last_error) == (3, "")


def test_records_wait_for_the_rate_of_the_key():
    key, source = a_key(rate="2/d"), ListSource(*(an_email(name) for name in "abc"))

    waits = a_reader(source, key.prefix).run_pass()

    assert subjects() == ["a", "b"]
    assert waits.wait > 0
    assert source.position == 2


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"prefix": "gone"}, "There is no API key with the prefix"),
        ({"revoked_at": timezone.now()}, "is revoked"),
        ({"expires_at": timezone.now() - dt.timedelta(days=1)}, "has expired"),
        ({"scopes": ["mails:read"]}, "has no scope mails:send"),
    ],
)
def test_without_a_usable_key_nothing_is_read_and_the_row_says_why(change, problem):
    key, source = a_key(), ListSource(an_email("a"))
    ApiKey.objects.update(**change)

    done = a_reader(source, key.prefix).run_pass()

    assert done.wait > 0
    assert (subjects(), source.position) == ([], 0)
    assert problem in get_row().last_error
    assert get_row().is_key_unusable
    assert get_row().failing_since is not None


def test_a_key_that_is_revoked_while_records_wait_stops_them():
    key, source = a_key(rate="2/d"), ListSource(*(an_email(name) for name in "abc"))
    reader = a_reader(source, key.prefix)
    reader.run_pass()
    api_keys.revoke(key)

    reader.run_pass()

    assert subjects() == ["a", "b"]
    assert (source.position, source.closed) == (2, 1)


def test_a_key_that_was_rotated_is_the_same_key():
    key, source = a_key(), ListSource(an_email("a"))
    old = key.prefix
    api_keys.rotate(key, dt.timedelta())

    a_reader(source, old).run_pass()

    assert subjects() == ["a"]


@pytest.mark.parametrize("step", ["read", "reject", "acknowledge"])
def test_a_stream_that_is_away_is_opened_again(step):
    source = ListSource(an_email("a"), POISON)
    reader = a_reader(source, a_key().prefix)
    source.fails = {step: AWAY}

    assert reader.run_pass().is_failing
    assert get_row().last_error == "the broker is away"
    assert source.closed == 1
    source.fails = {}
    reader.run_pass()

    assert subjects() == ["a"]
    assert source.position == 2
    assert (get_row().last_error, get_row().failing_since) == ("", None)


def test_a_lag_that_is_not_known_stops_nothing():
    source = ListSource(an_email("a"))
    source.fails = {"measure_lag": AWAY}

    assert not a_reader(source, a_key().prefix).run_pass().is_failing

    assert (get_row().accepted, get_row().lag, get_row().last_error) == (1, None, "")
    assert get_row().seen_at is not None


def test_a_broker_that_is_away_at_the_start_is_tried_again():
    source, attempts = ListSource(an_email("a")), iter([AWAY, None])

    def connect(process: str) -> ListSource:
        if error := next(attempts):
            raise error
        return source

    reader = a_reader(source, a_key().prefix, connect=connect)

    assert reader.run_pass().is_failing
    reader.run_pass()

    assert subjects() == ["a"]


def test_the_rate_is_measured_over_a_minute(monkeypatch):
    source = ListSource(an_email("a"), an_email("b"))
    reader = a_reader(source, a_key().prefix)
    monkeypatch.setattr("mails.submission_streams.reader.LAG_EVERY", 0.0)
    reader.run_pass()
    SubmissionStream.objects.update(rate_since=timezone.now() - dt.timedelta(seconds=100))

    reader.run_pass()

    assert get_row().rate == pytest.approx(0.02, rel=0.1)
    assert get_row().rate_consumed == 2
