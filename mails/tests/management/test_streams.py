"""`manage.py streams`, `tail` and `replay` as a person and a program see them."""

import json
from pathlib import Path

import pytest
from django.utils import timezone

from mails.models import Event, EventSink, RejectedRecord, SubmissionStream
from mails.states import Actor
from mails.tests.builders import HERA, a_mail
from mails.tests.commandline import run
from mercury.lib.audit.models import Act, AuditEntry
from mercury.lib.commands import ExitCode

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def path(settings, tmp_path: Path) -> Path:
    """The file that the sink `file` appends to."""
    settings.MERCURY_ENVIRONMENT = {"EVENT_SINK_FILE": f"file://{tmp_path}/events.jsonl"}
    return tmp_path / "events.jsonl"


@pytest.fixture
def sink(path: Path) -> EventSink:
    return EventSink.objects.create(name="file", position=0, created_at=timezone.now())


def test_without_a_sink_the_list_says_how_to_add_one():
    assert "Set EVENT_SINK_<NAME> for the workers." in run("streams", "list").out


def test_a_sink_that_is_only_configured_is_new(path):
    [row] = run("streams", "list", "--json").lines

    assert (row["name"], row["state"], row["target"]) == ("file", "new", str(path))


def test_the_list_shows_what_waits(sink):
    a_mail()

    [row] = run("streams", "list", "--json").lines

    assert (row["state"], row["backlog"]) == ("stopped", Event.objects.latest("pk").pk)
    assert row["oldest"] >= 0


def test_a_sink_is_paused_resumed_and_removed(sink):
    assert "file is paused." in run("streams", "pause", "file", "--yes").out
    assert "in that state before" in run("streams", "pause", "file", "--yes").out
    [row] = run("streams", "list", "--json").lines
    assert row["state"] == "paused"
    assert run("streams", "resume", "file", "--yes", "--json").document["changed"] is True
    assert run("streams", "remove", "file", "--yes").code == ExitCode.DONE
    assert not EventSink.objects.exists()


def test_an_unknown_sink_is_named(sink):
    ran = run("streams", "pause", "kafka", "--yes")

    assert ran.code == ExitCode.FAILED
    assert "There is no sink 'kafka'" in ran.error


def test_refused_events_are_listed_and_forgotten(sink):
    RejectedRecord.objects.create(sink=sink, event_id=7, reason="too large", rejected_at=timezone.now())

    [row] = run("streams", "rejected", "file", "--json").lines
    cleared = run("streams", "rejected", "file", "--clear")

    assert (row["event"], row["reason"]) == (7, "too large")
    assert "1 refused events are forgotten." in cleared.out
    assert "refused no event" in run("streams", "rejected", "file").out


def test_the_tail_shows_events_as_they_were_recorded():
    mail = a_mail()

    lines = run("tail", "--since", "1h", "--limit", "3").out.splitlines()

    assert [line.split()[2] for line in lines] == ["NEW", "ACCEPTED", "ENQUEUE"]
    assert all(str(mail.pk) in line and HERA in line for line in lines)


@pytest.mark.parametrize("words", [("--event", "enqueue", "--to", "HERA@"), ("--event", "ENQUEUE", "--mail", "ID")])
def test_the_tail_is_filtered(words):
    a_mail(recipient="iris@example.com")
    mail = a_mail()
    filters = [str(mail.pk) if word == "ID" else word for word in words]

    [event] = run("tail", "--since", "1h", "--limit", "1", "--json", *filters).lines

    assert event["type"] == "mercury.mail.enqueue"
    assert event["subject"] == str(mail.pk)
    assert event["data"]["recipients"] == [HERA]


def test_a_replay_publishes_a_period_again_with_the_same_ids(path):
    a_mail()

    ran = run("replay", "file", "--since", "1h", "--yes")
    run("replay", "file", "--since", "1h", "--yes")

    assert "3 events published." in ran.out
    ids = [json.loads(line)["id"] for line in path.read_text().splitlines()]
    assert len(ids) == 6
    assert ids[:3] == ids[3:]
    entry = AuditEntry.objects.filter(kind="event stream").latest("pk")
    assert (entry.by, entry.name, entry.detail[:17]) == (Actor.COMMAND, "file", "replayed 3 events")


def test_a_replay_says_how_many_events_it_has_and_may_begin_at_one(path):
    a_mail()
    second = Event.objects.order_by("pk")[1].pk

    dry = run("replay", "file", "--event", str(second), "--dry-run")
    run("replay", "file", "--event", str(second), "--yes")

    assert "2 events of this period go to file" in dry.out
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == [str(second), str(second + 1)]
    assert "not allowed with" in run("replay", "file", "--event", "1", "--since", "1h").error


def test_a_replay_of_an_empty_period_says_so(path):
    a_mail()

    ran = run("replay", "file", "--since", "2001-01-01", "--until", "2001-01-02", "--yes")

    assert "There are no events in this period." in ran.out
    assert not path.exists()


def test_a_replay_to_an_unknown_sink_says_which_there_are(path):
    ran = run("replay", "kafka", "--since", "1h", "--yes")

    assert "there is: file" in ran.error


def test_a_replay_whose_sink_is_away_says_how_far_it_came(path):
    a_mail()
    path.mkdir()

    ran = run("replay", "file", "--since", "1h", "--yes")

    assert ran.code == ExitCode.FAILED
    assert "stopped after 0 events" in ran.error


# Streams that emails are accepted from


def test_without_a_stream_of_submissions_the_list_says_how_to_add_one():
    assert "Set SUBMISSION_STREAM_<NAME> for the workers." in run("streams", "intake").out


def test_streams_of_submissions_are_listed_and_forgotten(settings):
    settings.MERCURY_ENVIRONMENT = {"SUBMISSION_STREAM_NEXT": "redis://127.0.0.1/0?key=abc"}
    now = timezone.now()
    SubmissionStream.objects.create(
        name="shop", target="topic submissions", key_prefix="abc", lag=7, created_at=now, rate_since=now, seen_at=now
    )

    shop, following = run("streams", "intake", "--json").lines

    assert (shop["name"], shop["state"], shop["waiting"]) == ("shop", "reading", 7)
    assert (following["name"], following["state"], following["target"]) == ("next", "new", "stream mercury:submissions")
    assert "shop is paused." in run("streams", "pause-intake", "shop", "--yes").out
    assert run("streams", "intake", "--json").lines[0]["state"] == "paused"
    assert "Nothing to do" in run("streams", "pause-intake", "shop", "--yes").out
    assert "shop is resumed." in run("streams", "resume-intake", "shop", "--yes").out
    assert "shop is forgotten." in run("streams", "forget", "shop", "--yes").out
    details = AuditEntry.objects.filter(kind="submission stream").order_by("pk").values_list("act", "detail")
    assert list(details) == [(Act.CHANGE, "paused"), (Act.CHANGE, "resumed"), (Act.DELETE, "")]
    assert "There is no stream 'shop'" in run("streams", "forget", "shop", "--yes").error


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({}, "reading"),
        ({"last_error": "no broker"}, "failing"),
        ({"last_error": "It is revoked.", "is_key_unusable": True}, "no key"),
        ({"seen_at": None}, "stopped"),
    ],
)
def test_the_state_of_a_stream_of_submissions(change, state):
    now = timezone.now()
    SubmissionStream.objects.create(**{"name": "shop", "created_at": now, "rate_since": now, "seen_at": now, **change})

    [row] = run("streams", "intake", "--json").lines

    assert row["state"] == state
