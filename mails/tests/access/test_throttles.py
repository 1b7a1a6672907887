"""What a client with a rate sees: headers on each answer, and a 429 that says what to do."""

import time

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from mails.access import rate_limits
from mails.access.rate_limits import Counts
from mails.models import Event, Mail
from mails.tests.callers import HELLO, MAILS, caller, problem, send_raw
from mails.tests.people import browser_of, hermes
from mercury.lib.runtime import process_state

pytestmark = pytest.mark.django_db


@pytest.fixture
def at_noon(monkeypatch):
    """No second passes between two answers."""
    monkeypatch.setattr(time, "time", lambda: 1_795_867_200.0)


def test_each_answer_states_the_rate_and_what_is_left(at_noon):
    zeus = caller(rate="3/m")

    answers = [zeus.post(MAILS, HELLO), zeus.post(MAILS, {}), send_raw(zeus, b"{"), zeus.post(MAILS, HELLO)]

    assert [answer.status_code for answer in answers] == [202, 400, 400, 429]
    assert [answer["RateLimit-Policy"] for answer in answers] == ['"key";q=3;w=60'] * 4
    assert [answer["RateLimit"] for answer in answers] == [
        '"key";r=2;t=60',
        '"key";r=1;t=60',
        '"key";r=0;t=60',
        '"key";r=0;t=60',
    ]
    assert "Retry-After" not in answers[0]


def test_a_mail_beyond_the_rate_is_a_429_that_says_what_to_do_and_is_not_stored(at_noon):
    zeus = caller(rate="1/m")
    zeus.post(MAILS, HELLO)

    answer = zeus.post(MAILS, HELLO)

    found = problem(answer, 429, "throttled")
    assert answer["Retry-After"] == "60"
    assert found["detail"] == (
        "This key may write once in 1 min, emails, events and actions together; this request was not processed. "
        "Send it again in 60 s. If the application needs more, an operator can raise the key's rate."
    )
    assert Mail.objects.count() == 1
    assert set(Event.objects.values_list("mail_id", flat=True)) == {Mail.objects.get().pk}


def test_the_body_is_not_read_before_the_mail_is_counted():
    zeus = caller(rate="1/m")
    zeus.post(MAILS, HELLO)

    problem(send_raw(zeus, b"no json"), 429, "throttled")


def test_a_repeated_idempotency_key_counts_and_a_refused_one_is_not_used_up(begin_process):
    zeus = caller(rate="2/m")
    order = {"HTTP_IDEMPOTENCY_KEY": "order-17"}

    zeus.post(MAILS, HELLO, **order)
    again = zeus.post(MAILS, HELLO, **order)
    refused = zeus.post(MAILS, HELLO, HTTP_IDEMPOTENCY_KEY="order-18")
    begin_process()
    zeus.key.rate = ""
    zeus.key.save()
    later = zeus.post(MAILS, HELLO, HTTP_IDEMPOTENCY_KEY="order-18")

    assert again["Idempotency-Replayed"] == "true"
    assert again["RateLimit"].startswith('"key";r=0;')
    assert refused.status_code == 429
    assert later.status_code == 202
    assert "Idempotency-Replayed" not in later


def test_reading_is_not_counted():
    zeus = caller(rate="1/m")
    mail = zeus.post(MAILS, HELLO).json()

    others = [zeus.get(MAILS), zeus.options(MAILS), zeus.get(mail["url"]), zeus.get(mail["events"])]

    assert [answer.status_code for answer in others] == [200] * 4
    assert not any("RateLimit" in answer for answer in others)


def test_every_write_of_a_key_counts_and_says_so(at_noon):
    zeus = caller(rate="6/m")
    mail = zeus.post(MAILS, HELLO).json()

    answers = [
        zeus.post(mail["events"], {"event": "READ"}),
        zeus.post(f"{mail['url']}/hold"),
        zeus.post("/api/v1.0/dispatcher/providers/", {"name": "x"}),
        zeus.put("/api/v1.0/dispatcher/providers/1", {}),
        zeus.delete("/api/v1.0/dispatcher/providers/1"),
        zeus.post(mail["events"], {"event": "READ"}),
        zeus.delete("/api/v1.0/dispatcher/providers/1"),
    ]

    assert [answer["RateLimit"].partition(";t")[0] for answer in answers] == [
        *(f'"key";r={left}' for left in (4, 3, 2, 1, 0)),
        *['"key";r=0'] * 2,
    ]
    assert [answer.status_code == 429 for answer in answers] == [False] * 5 + [True] * 2
    assert Event.objects.filter(event="READ").count() == 1


def test_only_a_mail_beyond_the_rate_counts_as_one_that_came_in():
    zeus = caller(rate="1/m")
    mail = zeus.post(MAILS, HELLO).json()

    problem(zeus.post(mail["events"], {"event": "READ"}), 429, "throttled")

    assert not process_state.get(Counts).refused


def test_a_key_without_a_rate_costs_nothing(monkeypatch, settings):
    settings.REDIS_URL = ""
    monkeypatch.setattr(rate_limits, "count_write", None)
    zeus = caller()

    answer = zeus.post(MAILS, HELLO)

    assert answer.status_code == 202
    assert not {"RateLimit", "RateLimit-Policy"} & set(answer.headers)


def test_a_rate_costs_no_query():
    asked = []
    for client in (caller(), caller("hera", rate="100/m")):
        client.post(MAILS, HELLO)
        with CaptureQueriesContext(connection) as queries:
            client.post(MAILS, HELLO)
        asked.append(len(queries))

    assert asked[0] == asked[1]


def test_a_person_is_not_counted():
    assert "RateLimit" not in browser_of(hermes()).post(MAILS, HELLO, content_type="application/json")


def test_a_rotated_key_keeps_its_rate_and_a_change_holds_from_the_next_mail():
    zeus = caller(rate="1/m")
    zeus.post(MAILS, HELLO)
    zeus.key.rate = "2/m"
    zeus.key.save()

    answers = [zeus.post(MAILS, HELLO) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]


def test_without_redis_an_email_is_accepted_and_counted(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    zeus = caller(rate="2/m")

    answers = [zeus.post(MAILS, HELLO) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [202, 202, 429]
