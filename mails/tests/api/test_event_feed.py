"""`GET /api/v1.0/events/`: all events of a client's emails, for programs that poll."""

import datetime as dt

import pytest

from mails.models import Event
from mails.tests.callers import HELLO, MAILS, caller, problem

pytestmark = pytest.mark.django_db(transaction=True)
EVENTS = "/api/v1.0/events/"


@pytest.fixture
def zeus():
    return caller()


def test_an_event_looks_as_it_does_among_those_of_its_email(zeus):
    mail = zeus.post(MAILS, HELLO).json()

    found = zeus.get(EVENTS).json()

    assert found["events"] == zeus.get(mail["events"] + "?expand=true").json()["events"]
    assert {event["mail_id"] for event in found["events"]} == {mail["id"]}


def test_each_page_leads_to_the_next_with_the_same_filters(zeus):
    mail = zeus.post(MAILS, HELLO).json()
    asked = {"limit": "1", "event": "NEW,ENQUEUE", "mail": mail["id"]}

    first = zeus.get(EVENTS, asked)
    second = zeus.get(first.json()["meta"]["next_url"])
    third = zeus.get(second.json()["meta"]["next_url"]).json()
    zeus.post(mail["events"], {"event": "READ"})
    fourth = zeus.get(third["meta"]["next_url"]).json()

    pages = [first.json(), second.json(), third, fourth]
    assert [[event["event"] for event in page["events"]] for page in pages] == [["NEW"], ["ENQUEUE"], [], []]
    assert [page["meta"]["more"] for page in pages] == [True, False, False, False]
    assert int(fourth["meta"]["cursor"]) > int(third["meta"]["cursor"])
    assert first["Link"] == f'<{first.json()["meta"]["next_url"]}>; rel="next"'


def test_a_client_that_polls_gets_what_is_new_and_304_where_nothing_is(zeus):
    zeus.post(MAILS, HELLO)
    following = zeus.get(EVENTS).json()["meta"]["next_url"]
    empty = zeus.get(following)
    unchanged = zeus.get(following, HTTP_IF_NONE_MATCH=empty["ETag"])
    mail = zeus.post(MAILS, HELLO).json()
    new = zeus.get(following, HTTP_IF_NONE_MATCH=empty["ETag"])

    assert empty.json()["events"] == []
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert [event["mail_id"] for event in new.json()["events"]] == [mail["id"]] * 3


def test_a_first_page_begins_an_hour_ago_or_where_it_is_asked_to(zeus):
    mail = zeus.post(MAILS, HELLO).json()
    last = Event.objects.order_by("-pk")[0]
    hours = 2 * 3600 * 10**9
    Event.objects.bulk_create(
        Event(mail_id=mail["id"], created_at=last.created_at + hours * step, created_by="t", event=f"{step}")
        for step in (1, 2)
    )

    assert len(zeus.get(EVENTS, {"cursor": ""}).json()["events"]) == 5
    since = zeus.get(EVENTS, {"since": "2999-01-01T00:00"}).json()
    assert since["events"] == []
    later = dt.datetime.fromtimestamp(last.created_at // 10**9 + 3 * 3600, dt.UTC)
    assert [event["event"] for event in zeus.get(EVENTS, {"since": later.isoformat()}).json()["events"]] == ["2"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("cursor", "yesterday", "not a cursor"),
        ("cursor", "-1", "not a cursor"),
        ("cursor", "9" * 18, "restored from a backup"),
        ("limit", "0", "whole number"),
        ("limit", "many", "whole number"),
        ("event", "DONE,", "1 to 64 characters"),
        ("event", ",".join("abc" * 17), "at most 50"),
        ("mail", "17", "not the id of an email"),
        ("since", "soon", "neither an age"),
    ],
)
def test_a_parameter_that_is_wrong_is_named_with_the_remedy(zeus, name, value, words):
    found = problem(zeus.get(EVENTS, {name: value}), 400, f"invalid_{name}")

    assert found["errors"][0]["parameter"] == name
    assert words in found["message"]


def test_since_belongs_to_the_first_page(zeus):
    assert "first page" in problem(zeus.get(EVENTS, {"cursor": "0", "since": "1h"}), 400, "invalid_since")["message"]


def test_a_limit_above_the_largest_means_the_largest(zeus):
    assert zeus.get(EVENTS, {"limit": "5000"}).json()["meta"]["limit"] == 1000
