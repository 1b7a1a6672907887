"""The timeline tells what happened in sentences, whatever a blob holds."""

import datetime as dt
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mails.models import Attempt, Event, Mail, uuid7
from mails.states import NEVER_CALLED, STORAGE_AWAY, EventName, HoldReason, Status
from mails.tests.builders import a_mail, dispatch, reloaded
from mails.timeline import story as stories
from mails.timeline.entries import group_by_round, list_entries
from mails.timeline.entry import BoldText, Entry, RunningDuration
from mails.timeline.facts import Usual, list_facts, list_spans
from mails.timeline.reply_text import describe_reason
from mails.timeline.story import read_story
from mails.timeline.summary import choose_badge, introduce, summarize
from mercury.lib.durations import format_age, format_offset

NOW = dt.datetime(2026, 11, 24, 10, 14, 5, tzinfo=dt.UTC)
CAME_IN = NOW - dt.timedelta(seconds=2)


def mail_in(status: str, **changes) -> Mail:
    fields: dict[str, Any] = {
        "sender": "zeus@olimpus.com",
        "recipient": "hera@olimpus.com",
        "source": "api",
        "queue": "text",
    }
    fields |= {
        "delivery_guarantee": "at-least-once",
        "created_at": CAME_IN,
        "expires_at": NOW,
        "size": 6100,
        "status": status,
    }
    return Mail(id=uuid7(), **{**fields, **changes})


def event(name: str, blob: object = "", *, after_ms: int = 0, number: int = 1) -> Event:
    text = blob if isinstance(blob, str) else json.dumps(blob)
    at = int(CAME_IN.timestamp() * 1000 + after_ms) * 1_000_000
    return Event(id=number, created_at=at, created_by="Dispatcher", event=name, blob=text)


def describe(name: str, blob: object = "", status: str = Status.DONE) -> Entry:
    return list_entries(mail_in(status), [event(name, blob)], NOW)[0]


def test_a_received_mail_names_application_key_and_size():
    entry = describe("NEW", {"source": "api", "application": "accounts", "key": "7qd0x1yz", "size": 6100})

    assert entry.title == "Received"
    assert entry.sentence == "Submitted by application accounts via the API, key 7qd0x1yz…, 6.1 kB"
    assert [part for part in entry.parts if isinstance(part, BoldText)] == ["accounts", "7qd0x1yz…"]


def test_a_refusal_says_the_answer_its_failure_class_and_that_nothing_was_sent():
    blob = {
        "service": "olympus",
        "status_code": 503,
        "latency_ms": 812,
        "failure_class": "provider",
        "reason_code": "http-503",
    }

    entry = describe("FAILURE", blob)

    assert entry.title == "Refused by olympus"
    assert entry.sentence == ("503 Service Unavailable after 812 ms. Provider error; definitely not sent.")
    assert entry.tone == "bad"


@pytest.mark.parametrize(
    ("failure_class", "title", "sentence"),
    [
        ("provider", "olympus was not reached", "Dns after 812 ms. Provider error; definitely not sent. No such host."),
        (
            "local",
            "No request to olympus",
            "Dns after 812 ms. Error on Mercury's own machine; definitely not sent. The account is not the cause. No such host.",
        ),
    ],
)
def test_a_failure_without_an_answer_quotes_none(failure_class, title, sentence):
    blob = {
        "service": "olympus",
        "failure_class": failure_class,
        "reason_code": "dns",
        "reason": "No such host.",
        "latency_ms": 812,
    }

    entry = describe("FAILURE", blob)

    assert (entry.title, entry.sentence) == (title, sentence)


@pytest.mark.parametrize("code", [NEVER_CALLED, STORAGE_AWAY, HoldReason.FILE_MISSING])
def test_an_attempt_without_a_request_quotes_no_answer(code):
    blob = {"service": "olympus", "failure_class": "rate", "reason_code": code, "reason": "The storage is away."}

    entry = describe("FAILURE", blob)

    assert (entry.title, entry.sentence) == ("No request to olympus", "The storage is away.")


def test_an_unknown_outcome_says_that_the_mail_may_have_been_sent():
    blob = {"service": "olympus", "reason_code": "read-timeout", "reason": "", "latency_ms": 10000}

    entry = describe("UNKNOWN", blob, Status.HELD)

    assert entry.title == "No reply from olympus"
    assert "may have been sent" in entry.sentence
    assert entry.sentence.startswith("Read timeout after 10 s")


def test_a_choice_lists_every_account_with_the_reason():
    evaluated = [
        {"account": "olympus", "weight": 2, "eligible": True, "selected": True, "note": "selected (drew 2 of 3)"},
        {"account": "hades", "weight": 1, "eligible": False, "selected": False, "note": "breaker open until 10:15:02"},
    ]

    entry = describe(
        "READY TO SEND", {"service": "olympus", "why": "the only eligible account", "evaluated": evaluated}
    )

    assert entry.title == "Selected olympus"
    assert entry.sentence == "The only eligible account"
    assert [item.note for item in entry.evaluated] == [
        "selected (drew 2 of 3)",
        "skipped: breaker open until 10:15:02",
    ]


def test_retry_at_once_and_retry_later_read_differently():
    at_once = describe("RETRY", {"service": "olympus", "when": "at once"})
    later = describe(
        "RETRY", {"service": "olympus", "when": "later", "next_attempt_at": "2026-11-24T10:14:35+00:00", "wait_s": 30}
    )

    assert (at_once.title, at_once.sentence) == ("Trying the next account", "olympus was already tried in this round")
    assert later.title == "Retry scheduled"
    assert "next attempt at 10:14:35 UTC, in 30 s" in later.sentence


def test_done_names_who_was_refused_and_a_possible_double():
    refused = [{"address": "iris@olimpus.com", "reason": "no such user"}]

    entry = describe("DONE", {"service": "hades", "status_code": 202, "refused": refused, "possible_duplicate": True})

    assert "iris@olimpus.com (no such user)" in entry.sentence
    assert "Possible duplicate: an earlier attempt got no reply." in entry.sentence


def test_a_mail_that_is_resolved_as_sent_does_not_read_as_an_answer_of_the_provider():
    resolved = describe("RESOLVED", {"outcome": "sent", "note": "in the log"})
    done = describe(
        "DONE", {"service": "hades", "accepted": ["hera@olimpus.com"], "refused": [], "possible_duplicate": False}
    )

    assert resolved.title == "Resolved as sent"
    assert resolved.sentence == "It is marked as sent; nothing more is sent. Reason: “in the log”"
    assert (done.title, done.sentence) == ("Closed as sent", "Sent through hades.")


def test_an_answer_without_a_status_code_is_the_providers_all_the_same():
    entry = describe("DONE", {"service": "hades", "status_code": None, "attempt": 1, "latency_ms": 5})

    assert (entry.title, entry.sentence) == ("Accepted by hades", "Accepted after 5 ms.")


def test_bad_request_names_each_field():
    errors = [{"field": "recipient", "code": "required", "detail": "Give at least one address."}]

    entry = describe("BAD REQUEST", {"errors": errors}, Status.REJECTED)

    assert entry.sentence == "recipient: Give at least one address. It was not queued."


def test_every_name_of_the_model_has_words():
    for name in EventName.values:
        assert describe(name, {}).title


def test_offsets_count_from_the_first_event():
    events = [event("NEW"), event("ACCEPTED", {}, after_ms=4, number=2), event("DEQUEUE", {}, after_ms=1132, number=3)]

    offsets = [entry.offset_words for entry in list_entries(mail_in(Status.DONE), events, NOW)]

    assert offsets == ["0 ms", "4 ms", "1.132 s"]


def test_a_new_round_is_announced_once():
    events = [
        event("DEQUEUE", {"round": 1}),
        event("READY TO SEND", {"round": 1}, number=2),
        event("DEQUEUE", {"round": 2}, number=3),
    ]

    rounds = [entry.new_round for entry in list_entries(mail_in(Status.DONE), events, NOW)]

    assert rounds == ["Round 1", "", "Round 2"]


def test_earlier_rounds_fold_and_say_what_came_of_them():
    events = [
        event("NEW"),
        event("DEQUEUE", {"round": 1}, number=2),
        event("FAILURE", {"service": "olympus", "status_code": 503}, number=3),
        event("FAILURE", {"service": "hades", "status_code": 503}, number=4),
        event("DEQUEUE", {"round": 2}, number=5),
        event("DONE", {"service": "hades"}, number=6),
    ]

    rounds = group_by_round(list_entries(mail_in(Status.DONE), events, NOW))

    assert [(group.folded, [entry.id for entry in group.entries]) for group in rounds] == [
        (False, [1]),
        (True, [2, 3, 4]),
        (False, [5, 6]),
    ]
    assert rounds[1].title == "Round 1 · 3 events · Refused by olympus · Refused by hades"


def test_a_mail_without_events_has_no_rounds():
    assert group_by_round([]) == []


@pytest.mark.parametrize(
    ("status", "reason", "title"),
    [
        (Status.QUEUED, "", "Waiting for a worker"),
        (Status.SENDING, "", "Waiting for olympus to reply"),
        (Status.WAITING, "", "Waiting to retry"),
        (Status.HELD, HoldReason.UNKNOWN, "Waiting for confirmation"),
        (Status.HELD, HoldReason.POISON, "Waiting for an operator"),
    ],
)
def test_a_mail_in_flight_ends_with_what_it_waits_for(status, reason, title):
    mail = mail_in(status, provider="olympus", reason_code=reason)

    last = list_entries(mail, [event("NEW")], NOW)[-1]

    assert (last.title, last.under_way, last.offset_words) == (title, True, "now")


def test_an_answer_that_is_awaited_shows_how_much_of_its_time_is_over():
    mail = mail_in(Status.SENDING, provider="olympus")

    last = list_entries(mail, [event("SEND", {"deadline_s": 10}, after_ms=1500)], NOW)[-1]

    assert last.sentence == "500 ms of 10 s"
    assert [part.seconds for part in last.parts if isinstance(part, RunningDuration)] == [pytest.approx(0.5)]


def test_an_answer_that_an_smtp_server_takes_its_time_for_shows_that_time():
    mail = mail_in(Status.SENDING, provider="olympus")
    send = event("SEND", {"deadline_s": 0.2, "final_reply_s": 600}, after_ms=1500)

    handed_over, last = list_entries(mail, [send], NOW)[-2:]

    assert "timeout 200 ms, plus 10 min for the final reply" in handed_over.sentence
    assert last.sentence == "500 ms of 10 min"


def test_a_mail_that_waits_counts_down_to_its_round():
    soon = NOW + dt.timedelta(seconds=30)
    mail = mail_in(Status.WAITING, next_attempt_at=soon, round=2, expires_at=NOW + dt.timedelta(days=3))

    last = list_entries(mail, [event("NEW")], NOW)[-1]

    assert (last.title, last.sentence) == ("Waiting to retry, next attempt at 10:14:35 UTC", "In 30 s")
    mail.reason_code = "http-503"
    assert summarize(mail, NOW) == (
        "Waiting to retry, next attempt at 10:14:35 UTC. Last error: 503 Service Unavailable."
    )
    mail.expires_at = soon
    assert list_entries(mail, [event("NEW")], NOW)[-1].title == "Waiting to retry, expires at 10:14:35 UTC"
    assert [part.seconds for part in last.parts if isinstance(part, RunningDuration)] == [-30]


@pytest.mark.parametrize("status", [Status.DONE, Status.DISCARDED, Status.EXPIRED, Status.CANCELLED, Status.REJECTED])
def test_a_final_mail_waits_for_nothing(status):
    assert not any(entry.under_way for entry in list_entries(mail_in(status), [event("NEW")], NOW))


def test_a_time_of_another_day_has_its_date():
    mail = mail_in(Status.HELD, reason_code="operator", expires_at=NOW + dt.timedelta(days=3))

    assert list_entries(mail, [event("NEW")], NOW)[-1].sentence.endswith(
        f"until it expires at {NOW + dt.timedelta(days=3):%Y-%m-%d %H:%M:%S} UTC."
    )
    mail.expires_at = NOW + dt.timedelta(seconds=5)
    assert list_entries(mail, [event("NEW")], NOW)[-1].sentence.endswith("until it expires at 10:14:10 UTC.")


@pytest.mark.parametrize(
    ("status", "printed"),
    [(Status.CANCELLED, "Cancelled 2 s after submission."), (Status.QUEUED, "Queued. Stored; waiting for")],
)
def test_a_command_names_the_state_once(status, printed):
    mail = mail_in(status)

    assert introduce(choose_badge(mail), summarize(mail, NOW)).startswith(printed)


def test_a_clients_event_is_shown_under_its_own_name():
    entry = describe("INVOICE PRINTED", "on paper")

    assert entry.title == "INVOICE PRINTED"
    assert entry.sentence == "Added by Dispatcher."
    assert entry.blob == "on paper"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
KEYS = st.sampled_from(
    [
        "service",
        "why",
        "attempt",
        "round",
        "rounds",
        "evaluated",
        "to",
        "deadline_s",
        "final_reply_s",
        "status_code",
        "latency_ms",
        "refused",
        "failure_class",
        "reason_code",
        "reason",
        "retry_after",
        "delivery_guarantee",
        "next",
        "when",
        "next_attempt_at",
        "wait_s",
        "info",
        "tried",
        "errors",
        "until",
        "waited_ms",
        "lease_until",
        "size",
        "recipients",
        "application",
        "key",
        "outcome",
    ]
)


@given(name=st.sampled_from(EventName.values) | st.text(max_size=64), blob=st.dictionaries(KEYS, JSON))
def test_no_blob_of_a_client_breaks_the_page(name, blob):
    mail = mail_in(Status.SENDING)

    for entry in list_entries(mail, [event(name, json.dumps(blob))], NOW):
        assert "\x1b" not in entry.title + entry.sentence + entry.blob


@pytest.mark.parametrize(
    "blob", ["{" * 100_000, '{"a": ' + "1" * 5000 + "}", '{"size": NaN}', "[1]", "null", "\x1b[2J{"]
)
def test_hostile_text_is_shown_without_harm(blob):
    entry = describe("NEW", blob)

    assert entry.title == "Received"
    assert "\x1b" not in entry.blob
    assert len(entry.blob) <= 20_000


def test_facts_are_five_figures():
    attempts = [Attempt(number=1, account="olympus", state="refused", latency_ms=812, opened_at=CAME_IN)]
    mail = mail_in(Status.DONE, finished_at=NOW, attempt_count=1)

    facts = list_facts(mail, [event("DEQUEUE", {"waited_ms": 313})], attempts, NOW)

    assert [(fact.label, fact.value) for fact in facts] == [
        ("Accepted", "2 s ago"),
        ("Queue time", "313 ms"),
        ("Provider time", "812 ms"),
        ("Attempts", "1"),
        ("Time to send", "2 s"),
    ]


def test_facts_name_what_is_usual_in_the_queue():
    mail = mail_in(Status.DONE, finished_at=NOW, attempt_count=1)

    facts = list_facts(mail, [], [], NOW, usual=Usual(wait=0.28, acceptance=0.71))

    assert [fact.note for fact in facts if "median" in fact.note] == [
        "queue text, median 280 ms",
        "queue median 710 ms",
    ]


def growing(mail: Mail, events: list[Event], attempts: list[Attempt]) -> list[str]:
    facts = list_facts(mail, events, attempts, NOW)
    return [fact.label for fact in facts if isinstance(fact.value, RunningDuration)]


def test_figures_that_go_on_say_so():
    calling = Attempt(number=1, account="olympus", state="open", opened_at=CAME_IN)

    assert growing(mail_in(Status.QUEUED), [event("NEW")], []) == ["Queue time", "Elapsed"]
    assert growing(mail_in(Status.SENDING, attempt_count=1), [event("NEW")], [calling]) == ["Provider time", "Elapsed"]
    assert growing(mail_in(Status.DONE, finished_at=NOW), [event("NEW")], []) == []


def test_a_held_mail_says_for_how_long():
    events = [event("NEW"), event("HELD", after_ms=500, number=2)]

    fact = list_facts(mail_in(Status.HELD), events, [], NOW)[-1]

    assert (fact.label, fact.value, fact.note) == ("On hold for", "1.5 s", "2 s since submission")


def test_spans_say_where_the_time_went():
    opened = CAME_IN + dt.timedelta(milliseconds=320)
    attempts = [
        Attempt(number=1, account="olympus", state="refused", status_code=503, latency_ms=812, opened_at=opened)
    ]
    events = [event("NEW"), event("ACCEPTED", after_ms=4, number=2), event("DEQUEUE", {}, after_ms=317, number=3)]

    spans = list_spans(mail_in(Status.DONE), events, attempts, NOW)

    assert [(span.label, span.words) for span in spans] == [
        ("Validate and store", "4 ms"),
        ("Queue (text)", "313 ms"),
        ("olympus: 503", "812 ms"),
    ]


def test_each_state_has_a_badge_and_a_summary():
    for status in Status.values:
        mail = mail_in(status, next_attempt_at=NOW, reason_code="http-503", provider="olympus")
        assert choose_badge(mail).word
        assert summarize(mail, NOW).endswith(".")


def test_a_possible_duplicate_is_sent_possibly_twice():
    assert choose_badge(mail_in(Status.DONE, possible_duplicate=True)).word == "Sent, possible duplicate"
    assert summarize(mail_in(Status.DONE, possible_duplicate=True), NOW).count("an earlier attempt got no reply") == 1


@pytest.mark.parametrize(
    "status",
    [Status.QUEUED, Status.SENDING, Status.WAITING, Status.HELD, Status.DISCARDED, Status.EXPIRED, Status.CANCELLED],
)
def test_a_possible_duplicate_that_is_not_sent_may_have_arrived_already(status):
    mail = mail_in(status, possible_duplicate=True, next_attempt_at=NOW, reason_code="connection-lost")

    assert summarize(mail, NOW).count("It may have arrived already: an earlier attempt got no reply.") == 1
    assert choose_badge(mail).help.endswith(" The outcome of an earlier attempt is unknown: it may have arrived.")


def test_a_mail_held_for_its_unknown_outcome_says_so_once():
    mail = mail_in(Status.HELD, possible_duplicate=True, reason_code=HoldReason.UNKNOWN)

    assert (
        summarize(mail, NOW)
        == "It may already have been sent. Mercury does not send it again until the outcome is known."
    )
    assert (
        choose_badge(mail).help
        == "It may already have been sent. Mercury does not send it again until the outcome is known."
    )


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("http-400", "400 Bad Request"),
        ("http-200", "200 with an error"),
        ("http-799", "799"),
        ("smtp-550", "SMTP 550"),
        ("all-rejected", "all-rejected"),
        ("dns", "dns"),
        ("", ""),
    ],
)
def test_a_reason_code_reads_as_the_reply(code, words):
    assert describe_reason(code) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "now"), (12, "12 s ago"), (200, "3 min ago"), (7300, "2 h ago"), (90_000, "1 d ago")],
)
def test_ages_in_words(seconds, words):
    assert format_age(seconds) == words


def test_offsets_in_words():
    assert [format_offset(seconds) for seconds in (0, 0.318, 1.132, 200)] == ["0 ms", "318 ms", "1.132 s", "3 min 20 s"]


@pytest.mark.django_db(transaction=True)
def test_the_story_of_a_sent_mail_is_complete(olympus):
    mail = a_mail()
    dispatch("text")

    story = read_story(reloaded(mail), dt.datetime.now(dt.UTC))

    assert story.is_final
    assert story.summary.startswith("Accepted by olympus")
    assert [entry.event for entry in story.entries][:3] == ["NEW", "ACCEPTED", "ENQUEUE"]
    assert story.entries[-1].title == "Accepted by olympus"


@pytest.mark.django_db
def test_the_story_of_a_mail_with_very_many_events_is_bounded(olympus, django_assert_num_queries):
    mail = a_mail()
    Event.objects.bulk_create(
        [
            Event(mail=mail, created_at=time.time_ns(), created_by="key", event="NOTE")
            for _ in range(stories.EVENTS_SHOWN + 10)
        ]
    )

    with django_assert_num_queries(8):
        story = read_story(mail, NOW)

    assert story.has_older_events
    assert story.event_count == stories.EVENTS_SHOWN + 1
    assert story.entries[0].event == "NEW"
