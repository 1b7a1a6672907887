"""The pages of event streams: what each lacks, what it refused, how to read it; pause and resume."""

import datetime as dt
import re

import pytest
from django.contrib.auth.models import Permission, User

from mails.admin.stream_snippets import build_snippet
from mails.events.sinks.config import parse_sink
from mails.models import Event, EventSink, RejectedRecord, SubmissionStream
from mails.tests.builders import a_mail
from mails.tests.people import browser_of, hermes
from mercury.lib.audit.models import AuditEntry
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db
PAGE = "/admin/streams/"
SINKS = {
    "EVENT_SINK_REDIS": "redis://:s3cret@redis.olimpus.com:6379/2?stream=mail-events",
    "EVENT_SINK_KAFKA": "kafka://zeus:s3cret@one.olimpus.com:9092,two.olimpus.com:9092/mail-events?mechanism=SCRAM-SHA-256",
    "EVENT_SINK_KINESIS": "kinesis://mail-events?region=eu-central-1&endpoint=http://key:s3cret@127.0.0.1:4566",
    "EVENT_SINK_FILE": "file:///var/lib/mercury/events.jsonl",
}


@pytest.fixture
def browser():
    return browser_of(hermes())


@pytest.fixture
def kafka(settings) -> EventSink:
    settings.MERCURY_ENVIRONMENT = SINKS
    a_mail()
    now = database_clock.now()
    return EventSink.objects.create(
        name="kafka",
        position=Event.objects.latest("pk").pk - 2,
        published=41,
        created_at=now,
        leader="one",
        leased_until=now + dt.timedelta(hours=1),
    )


def test_without_a_stream_the_page_says_how_to_switch_one_on(browser):
    page = browser.get(PAGE).text

    assert "No stream is switched on" in page
    assert "EVENT_SINK_REDIS=redis:" in page


def test_each_stream_is_shown_with_its_target_and_without_its_secret(browser, kafka):
    page = browser.get(PAGE).text

    for shown in (
        "topic mail-events",
        "stream mail-events",
        "/var/lib/mercury/events.jsonl",
        "Publishing",
        "Not used yet",
    ):
        assert shown in page
    assert "s3cret" not in page
    assert "zeus" not in page


@pytest.mark.parametrize("path", [PAGE, f"{PAGE}events/kafka/"])
def test_large_numbers_are_grouped_as_on_other_pages(browser, kafka, path):
    EventSink.objects.update(published=1_234_567)

    assert "1,234,567" in browser.get(path).text


def test_a_stream_that_fails_is_the_first_thing_on_the_page(browser, kafka):
    EventSink.objects.update(last_error="no broker answers", failing_since=database_clock.now())

    page = browser.get(PAGE).text

    assert "No events reach kafka now. They wait, and no email is affected." in page
    assert "no broker answers" in page


def test_the_table_follows_and_is_silent_while_nothing_changes(browser, kafka):
    digest = browser.get(PAGE).context["digest"]

    assert browser.get(f"{PAGE}figures/", {"seen": digest}).status_code == 204
    EventSink.objects.update(published=42)
    assert "42" in browser.get(f"{PAGE}figures/", {"seen": digest}).text


def test_a_stream_is_paused_and_resumed_after_confirmation(browser, kafka):
    assert "About 2 events wait for it now" in browser.get(f"{PAGE}events/kafka/pause/").text
    paused = browser.post(f"{PAGE}events/kafka/pause/", follow=True).text
    assert "The stream kafka is paused." in paused
    assert "by hermes" in browser.get(PAGE).text
    assert "The stream kafka was already paused." in browser.post(f"{PAGE}events/kafka/pause/", follow=True).text
    assert "The stream kafka is resumed." in browser.post(f"{PAGE}events/kafka/resume/", follow=True).text

    found = AuditEntry.objects.filter(kind="event stream").order_by("pk").values_list("by", "name", "detail")
    assert list(found) == [("user:hermes", "kafka", "paused"), ("user:hermes", "kafka", "resumed")]


def read_hidden(page):
    """Return the hidden fields of a page's form, without the token."""
    found = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page))
    return {name: value for name, value in found.items() if name != "csrfmiddlewaretoken"}


def test_a_stream_is_replayed_from_an_event_after_a_page_that_counts(browser, kafka):
    a_mail()
    kafka.position = Event.objects.latest("pk").pk
    kafka.save()
    first = kafka.position - 2
    page = f"{PAGE}events/kafka/replay/"
    assert "The next page says how many they are." in browser.get(page).text

    asked = browser.post(page, {"event": first}).text
    assert "Publish 3 events again?" in asked
    assert f"kafka gets 3 events once more, from event {first} of " in asked
    assert EventSink.objects.get().position == kafka.position
    done = browser.post(page, read_hidden(asked), follow=True).text
    assert f"kafka gets the events from event {first} on once more." in done

    assert EventSink.objects.get().position == first - 1
    entry = AuditEntry.objects.get(kind="event stream")
    assert (entry.by, entry.name, entry.detail) == ("user:hermes", "kafka", f"replayed from event {first} on")
    again = browser.post(page, read_hidden(asked), follow=True).text
    assert "Nothing to do: kafka does not have these events yet." in again


def test_a_stream_is_replayed_from_a_moment(browser, kafka):
    had = Event.objects.filter(pk__lte=kafka.position).count()
    page = f"{PAGE}events/kafka/replay/"

    asked = browser.post(page, {"since": "2026-01-01T00:00"}).text
    browser.post(page, read_hidden(asked))

    assert f"Publish {had} event" in asked
    assert EventSink.objects.get().position == Event.objects.earliest("pk").pk - 1


def test_a_paused_stream_says_that_a_replay_waits(browser, kafka):
    EventSink.objects.update(paused_at=database_clock.now(), paused_by="user:hermes")

    asked = browser.post(f"{PAGE}events/kafka/replay/", {"since": "2026-01-01T00:00"}).text

    assert "The stream is paused: nothing is published until somebody resumes it." in asked


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Give a moment or an event, and not both."),
        ({"since": "2026-01-01T00:00", "event": "1"}, "Give a moment or an event, and not both."),
        ({"event": "0"}, "greater than or equal to 1"),
        ({"since": "soon"}, "Enter a valid date/time."),
    ],
)
def test_a_replay_without_one_beginning_is_refused(browser, kafka, given, words):
    answer = browser.post(f"{PAGE}events/kafka/replay/", given)

    assert answer.status_code == 400
    assert words in answer.text


def test_a_replay_of_what_the_stream_does_not_have_says_so(browser, kafka):
    answer = browser.post(f"{PAGE}events/kafka/replay/", {"event": kafka.position + 1}, follow=True)

    assert "kafka has no event from then on" in answer.text


def test_refused_events_are_listed_and_forgotten_after_confirmation(browser, kafka):
    RejectedRecord.objects.create(sink=kafka, event_id=7, reason="too large", rejected_at=database_clock.now())

    assert "too large" in browser.get(f"{PAGE}events/kafka/").text
    assert "1 events were refused" in browser.get(f"{PAGE}events/kafka/forget/").text
    browser.post(f"{PAGE}events/kafka/forget/")
    assert "None: everything that was published was accepted." in browser.get(f"{PAGE}events/kafka/").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("events/pigeon/", 404),
        ("events/pigeon/pause/", 404),
        ("events/kafka/remove/", 404),
        ("events/file/pause/", 404),
        ("events/file/replay/", 404),
        ("submissions/pigeon/pause/", 404),
    ],
)
def test_what_is_not_there_is_not_found(browser, kafka, path, status):
    assert browser.get(PAGE + path).status_code == status


def test_who_may_only_look_sees_no_action(kafka):
    iris = User.objects.create_user("iris", is_staff=True)
    iris.user_permissions.add(Permission.objects.get(codename="view_eventsink"))

    page = browser_of(iris).get(PAGE).text

    assert "Connect" in page
    assert "Pause…" not in page


def test_a_stream_whose_variable_is_elsewhere_says_which(browser, kafka, settings):
    settings.MERCURY_ENVIRONMENT = {}

    assert "EVENT_SINK_KAFKA" in browser.get(f"{PAGE}events/kafka/").text


@pytest.mark.parametrize("variable", SINKS)
def test_the_program_that_reads_a_stream_names_its_target_and_no_secret(variable):
    config = parse_sink(variable, SINKS[variable])

    program = build_snippet(config).code

    compile(program, variable, "exec")
    assert "s3cret" not in program
    assert "zeus" not in program
    assert config.address.get("path", "mail-events") in program
    assert ("_PASSWORD" in program) == (variable in ("EVENT_SINK_REDIS", "EVENT_SINK_KAFKA"))


@pytest.fixture
def orders() -> SubmissionStream:
    now = database_clock.now()
    values = {"target": "topic orders", "key_prefix": "zeus", "created_at": now, "rate_since": now, "seen_at": now}
    return SubmissionStream.objects.create(name="orders", lag=1234, **values)


def test_a_stream_of_submissions_is_paused_and_resumed_after_confirmation(browser, orders):
    page = f"{PAGE}submissions/orders/"
    assert "No email is accepted from it until somebody resumes it." in browser.get(f"{page}pause/").text
    paused = browser.post(f"{page}pause/", follow=True).text
    assert "The stream orders is paused." in paused
    assert "Paused: orders. Events and records wait." in paused
    assert "by hermes" in paused
    assert "1234" not in paused  # it is not measured
    assert "was already paused" in browser.post(f"{page}pause/", follow=True).text
    assert "The stream orders is resumed." in browser.post(f"{page}resume/", follow=True).text
    assert "was not paused" in browser.post(f"{page}resume/", follow=True).text
    assert browser.get(f"{page}forget/").status_code == 404

    found = AuditEntry.objects.filter(kind="submission stream").order_by("pk").values_list("by", "name", "detail")
    assert list(found) == [("user:hermes", "orders", "paused"), ("user:hermes", "orders", "resumed")]


def test_streams_that_emails_are_accepted_from_are_shown_with_why_nothing_is(browser):
    now = database_clock.now()
    values = {"target": "topic orders", "key_prefix": "zeus", "created_at": now, "rate_since": now, "seen_at": now}
    SubmissionStream.objects.create(name="orders", lag=1234, accepted=7, last_rejection="no recipient", **values)
    reading = browser.get(PAGE).text
    SubmissionStream.objects.update(last_error="no broker answers", failing_since=now)

    assert "Every stream is read." in reading
    for shown in ("orders", "topic orders", "Reading", "1234", "last dead letter: no recipient"):
        assert shown in reading
    failing = browser.get(PAGE).text
    assert "No emails are accepted from orders now." in failing
    assert "no broker answers" in failing
