import pytest
from django.contrib.sessions.middleware import SessionMiddleware

from mails.access import api_keys
from mails.tests.builders import HELLO


@pytest.mark.django_db
def test_a_request_with_a_key_looks_at_no_session_and_a_page_does(client, monkeypatch):
    seen = []
    process_request = SessionMiddleware.process_request
    monkeypatch.setattr(
        SessionMiddleware,
        "process_request",
        lambda self, request: seen.append(request) or process_request(self, request),
    )
    _, key = api_keys.create("zeus", scopes=["mails:send"], senders=["*"])

    answer = client.post("/api/v1.0/mails/", HELLO, "application/json", HTTP_AUTHORIZATION=f"Bearer {key}")

    assert answer.status_code == 202
    assert seen == []
    client.get("/login/", HTTP_AUTHORIZATION=f"Bearer {key}")
    client.get("/api/v1.0/mails/")
    assert len(seen) == 2


@pytest.mark.django_db
def test_a_session_counts_for_nothing_with_a_wrong_key(admin_client):
    assert admin_client.get("/api/v1.0/mails/").status_code == 200
    assert admin_client.get("/api/v1.0/mails/", HTTP_AUTHORIZATION="Bearer mk_wrong").status_code == 401


@pytest.mark.django_db
def test_the_browsable_page_opens_with_a_key_too(client):
    _, key = api_keys.create("zeus", scopes=["mails:read"], senders=["*"])

    answer = client.get("/api/v1.0/mails/", HTTP_AUTHORIZATION=f"Bearer {key}", HTTP_ACCEPT="text/html")

    assert answer.status_code == 200
    assert "text/html" in answer["Content-Type"]


@pytest.mark.django_db
@pytest.mark.parametrize("accept", [None, "", "*/*", "application/json", "application/*", "text/plain;q=0.5, */*"])
def test_json_is_the_answer_to_clients_that_accept_it(admin_client, accept):
    headers = {} if accept is None else {"HTTP_ACCEPT": accept}

    assert admin_client.get("/api/v1.0/mails/", **headers)["Content-Type"] == "application/json"


@pytest.mark.django_db
def test_what_the_api_does_not_speak_is_still_refused(admin_client):
    assert admin_client.get("/api/v1.0/mails/", HTTP_ACCEPT="application/xml").status_code == 406


@pytest.mark.django_db
@pytest.mark.parametrize("length", [151, 5000])
def test_a_name_that_is_too_long_for_anybody_is_an_error_of_the_form(client, length):
    answer = client.post("/login/", {"username": "z" * length, "password": "no"})

    assert answer.status_code == 200
    assert "at most 150 characters" in answer.text
