import json
import re

import pytest
from django.contrib.auth.models import Permission, User
from django.db import OperationalError
from django.urls import reverse

from mails import pauses
from mails.intake.receipts import RefusalReason, Refused
from mails.models import Content, IdempotencyKey, Mail, SenderPermission
from mails.queues import QueueName
from mails.tests.builders import dispatch
from mails.tests.callers import HELLO, HERA, MAILS, ZEUS, Caller, caller, problem

pytestmark = pytest.mark.django_db
dispatchers = pytest.mark.django_db(transaction=True)  # the dispatcher has a connection of its own
KEY = {"HTTP_IDEMPOTENCY_KEY": "order-17"}


@pytest.fixture
def zeus():
    return caller()


@dispatchers
def test_the_same_idempotency_key_gives_the_same_answer_byte_for_byte(zeus, olympus):
    first = zeus.post(MAILS, HELLO, **KEY)
    dispatch()

    again = zeus.post(MAILS, HELLO, **KEY)

    assert (again.status_code, again.content) == (202, first.content)
    assert (again["Location"], again["MailId"]) == (first["Location"], first["MailId"])
    assert again["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first
    assert Mail.objects.count() == 1


def test_the_same_key_with_another_body_is_a_422(zeus):
    zeus.post(MAILS, HELLO, **KEY)

    problem(zeus.post(MAILS, HELLO | {"subject": "Other"}, **KEY), 422, "idempotency_key_reused")

    assert Mail.objects.count() == 1


def test_a_key_that_is_still_running_is_a_409_that_says_when_to_come_back(zeus, monkeypatch):
    running = Refused(reason=RefusalReason.KEY_IN_USE, detail="Still running.", retry_after=1)
    monkeypatch.setattr("mails.api.viewsets.mails.accept", lambda *_, **__: [running])

    answer = zeus.post(MAILS, HELLO, **KEY)

    problem(answer, 409, "idempotency_key_in_use")
    assert answer["Retry-After"] == "1"


def test_idempotency_keys_belong_to_their_api_key(zeus):
    zeus.post(MAILS, HELLO, **KEY)

    assert "Idempotency-Replayed" not in caller("other").post(MAILS, HELLO, **KEY)

    assert IdempotencyKey.objects.count() == 2


@pytest.mark.parametrize("key", ["x" * 256, "ä", "a\tb"])
def test_a_malformed_idempotency_key_is_a_400(zeus, key):
    problem(zeus.post(MAILS, HELLO, HTTP_IDEMPOTENCY_KEY=key), 400, "invalid_idempotency_key")

    assert not Mail.objects.exists()


@dispatchers
def test_an_email_shows_its_status(zeus, olympus):
    olympus.refuse(503)
    url = zeus.post(MAILS, HELLO).json()["url"]
    before = zeus.get(url).json()
    dispatch()
    waiting = zeus.get(url).json()

    assert (before["status"], before["attempts"], before["provider"]) == ("queued", 0, "")
    assert before["next_attempt"] == before["created"]
    assert before["finished"] is None
    assert (waiting["status"], waiting["attempts"], waiting["provider"]) == ("waiting", 1, "olympus")
    assert waiting["failure_class"] == "provider"
    assert waiting["next_attempt"] > before["next_attempt"]
    assert waiting["recipients_detail"] == [{"email": HERA, "name": "", "kind": "to", "state": "pending", "reason": ""}]
    assert waiting["created"].endswith("Z")
    assert waiting["created_at"] % 1000 == 0


def test_a_mail_whose_body_was_removed_shows_an_empty_one(zeus):
    url = zeus.post(MAILS, HELLO).json()["url"]
    Content.objects.all().delete()

    assert zeus.get(url).json()["content"] == ""


@pytest.mark.parametrize("which", ["mail", "event", "mails", "events", "providers", "provider"])
def test_a_resource_that_has_not_changed_is_a_304(zeus, olympus, which):
    mail, accounts = zeus.post(MAILS, HELLO).json(), reverse("api-provider-list")
    urls = {
        "mail": mail["url"],
        "event": zeus.get(mail["events"]).json()["events"][0],
        "mails": MAILS,
        "events": mail["events"],
        "providers": accounts,
        "provider": zeus.get(accounts).json()["providers"][0],
    }
    url = urls[which]
    first = zeus.get(url)

    again = zeus.get(url, HTTP_IF_NONE_MATCH=first["ETag"])

    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]
    assert zeus.get(url, HTTP_IF_NONE_MATCH='"other"').status_code == 200
    assert set(first["Cache-Control"].split(", ")) == {"private", "no-cache"}


def test_a_list_that_has_grown_has_another_etag(zeus):
    before = zeus.get(MAILS)["ETag"]

    zeus.post(MAILS, HELLO)

    assert zeus.get(MAILS, HTTP_IF_NONE_MATCH=before).status_code == 200


@dispatchers
def test_a_mail_that_moved_has_another_etag(zeus, olympus):
    url = zeus.post(MAILS, HELLO).json()["url"]
    before = zeus.get(url)["ETag"]
    dispatch()

    assert zeus.get(url, HTTP_IF_NONE_MATCH=before).status_code == 200


def test_a_mail_whose_queue_was_paused_has_another_etag_until_it_is_resumed(zeus):
    url = zeus.post(MAILS, HELLO).json()["url"]
    before = zeus.get(url)["ETag"]

    pauses.pause(QueueName.TEXT, by="hermes")
    paused = zeus.get(url, HTTP_IF_NONE_MATCH=before)
    pauses.resume(QueueName.TEXT, by="hermes")

    assert paused.status_code == 200
    assert "Queue text is paused" in paused.json()["summary"]
    assert zeus.get(url, HTTP_IF_NONE_MATCH=before).status_code == 304


def test_an_email_has_another_etag_while_sending_is_paused_and_says_so_alone_and_in_a_list(zeus):
    url = zeus.post(MAILS, HELLO).json()["url"]
    before = zeus.get(url)["ETag"]

    pauses.pause(by="user:hermes")
    held = zeus.get(url, HTTP_IF_NONE_MATCH=before)
    listed = zeus.get(f"{MAILS}?expand=true").json()["mails"][0]["summary"]
    pauses.resume(by="user:hermes")

    assert held.status_code == 200
    assert held.json()["summary"] == listed
    assert re.search(r"Sending is paused since .* UTC by hermes: nothing is sent until someone resumes it\.", listed)
    assert zeus.get(url, HTTP_IF_NONE_MATCH=before).status_code == 304


def test_head_answers_like_get_without_a_body(zeus):
    mail = zeus.post(MAILS, HELLO).json()

    for url in (MAILS, mail["url"], mail["events"]):
        answer = zeus.head(url)
        assert (answer.status_code, answer.content) == (200, b"")
    assert zeus.head(mail["url"])["ETag"] == zeus.get(mail["url"])["ETag"]


def test_options_lists_the_methods(zeus):
    answer = zeus.options(MAILS)

    assert answer.status_code == 200
    assert answer["Allow"] == "GET, POST, HEAD, OPTIONS"
    assert sorted(answer.json()) == ["description", "name", "parses", "renders"]  # fields are in the OpenAPI schema


def test_creating_costs_the_same_queries_whatever_the_number_of_recipients(zeus, django_assert_max_num_queries):
    zeus.post(MAILS, HELLO)

    for recipients in ([HERA], [f"god{number}@olimpus.com" for number in range(50)]):
        with django_assert_max_num_queries(8):  # SQLite: the key, four INSERTs, begin and commit
            zeus.post(MAILS, HELLO | {"recipient": recipients})


@pytest.mark.parametrize(("query", "queries"), [("", 3), ("?expand=true", 9)])
def test_a_list_of_mails_costs_the_same_queries_whatever_its_length(
    zeus, olympus, django_assert_num_queries, query, queries
):
    for _ in range(15):
        zeus.post(MAILS, HELLO)

    for per_page in (1, 15):
        with django_assert_num_queries(queries):
            found = zeus.get(f"{MAILS}{query or '?'}&per_page={per_page}").json()
        assert len(found["mails"]) == per_page


@pytest.mark.parametrize("query", ["?", "?expand=true"])
def test_a_list_of_events_costs_four_queries_whatever_its_length(zeus, django_assert_num_queries, query):
    events = zeus.post(MAILS, HELLO).json()["events"]
    for number in range(15):
        zeus.post(events, {"event": f"STEP {number}"})

    for per_page in (1, 18):
        with django_assert_num_queries(4):
            found = zeus.get(f"{events}{query}&per_page={per_page}").json()
        assert len(found["events"]) == per_page


def test_an_event_costs_two_queries(zeus, django_assert_num_queries):
    url = zeus.get(zeus.post(MAILS, HELLO).json()["events"]).json()["events"][0]

    with django_assert_num_queries(2):
        zeus.get(url)


def test_a_database_that_is_away_is_a_503(zeus, monkeypatch):
    def away(*_, **__):
        raise OperationalError("could not connect to secret-host")

    monkeypatch.setattr("mails.api.viewsets.mails.accept", away)

    answer = zeus.post(MAILS, HELLO)

    assert "secret-host" not in json.dumps(problem(answer, 503, "store_unavailable"))
    assert answer["Retry-After"] == "5"


def person(name="zeus", **more):
    user = User.objects.create_user(name, **more)
    client = Caller(enforce_csrf_checks=True)
    client.force_login(user)
    return client, user


def with_token(client):
    """The headers of a request from a page of ours."""
    from django.middleware.csrf import _get_new_csrf_string

    token = _get_new_csrf_string()
    client.cookies["csrftoken"] = token
    return {"HTTP_X_CSRFTOKEN": token}


def test_a_person_sends_as_whom_an_operator_allowed_and_sees_their_own_mails_only():
    client, user = person()
    token = with_token(client)
    SenderPermission.objects.create(user=user, address=ZEUS)
    caller().post(MAILS, HELLO)

    answer = client.post(MAILS, HELLO, **token)

    assert answer.status_code == 202
    assert client.get(MAILS).json()["mails"] == [answer["Location"]]
    problem(client.post(MAILS, HELLO | {"sender": HERA}, **token), 403, "sender_not_allowed")
    event = client.post(answer.json()["events"], {"event": "READ"}, **token).json()
    assert event["created_by"] == "user:zeus"
    problem(client.post(answer.json()["events"], {"event": "DONE"}, **token), 403, "missing_scope")


def test_a_person_needs_the_csrf_token():
    client, _ = person(is_superuser=True)

    found = problem(client.post(MAILS, HELLO), 403)

    assert "CSRF" in found["detail"]
    assert not Mail.objects.exists()


def test_a_superuser_sees_all_mails_and_may_send_as_anybody():
    client, _ = person("jupiter", is_superuser=True)
    caller().post(MAILS, HELLO)

    answer = client.post(MAILS, HELLO | {"sender": "anybody@olimpus.com"}, **with_token(client))

    assert answer.status_code == 202
    assert client.get(MAILS).json()["meta"]["total"] == 2


def test_staff_sees_all_mails_by_djangos_permission():
    client, user = person("argus", is_staff=True)
    caller().post(MAILS, HELLO)
    before = client.get(MAILS).json()["meta"]["total"]

    user.user_permissions.add(Permission.objects.get(codename="view_mail"))

    assert (before, client.get(MAILS).json()["meta"]["total"]) == (0, 1)


def test_the_browsable_api_shows_people_a_form_that_takes_json():
    client, _ = person("jupiter", is_superuser=True)

    page = client.get(MAILS, HTTP_ACCEPT="text/html").content.decode()

    assert 'data-override="content"' in page
    assert "application/json" in page


def test_an_error_of_the_browsable_api_is_a_page():
    client, _ = person("jupiter", is_superuser=True)

    answer = client.get(MAILS + "?filter=x", HTTP_ACCEPT="text/html")

    assert answer.status_code == 400
    assert answer["Content-Type"].startswith("text/html")
    assert "invalid_filter" in answer.content.decode()
