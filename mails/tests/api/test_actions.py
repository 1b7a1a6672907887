"""Mails in flight, managed by their client over the API."""

import datetime as dt

import pytest

from mails.access import api_keys
from mails.lifecycle import writer
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Content, Mail
from mails.states import Action, Status
from mails.tests.builders import a_mail, dispatch, event_names
from mails.tests.callers import HELLO, MAILS, caller, problem
from mails.tests.people import browser_of, hermes, zeus
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def posted(client):
    return Mail.objects.get(pk=client.post(MAILS, HELLO, format="json").json()["id"])


def request_action(client, mail, verb, body=None):
    return client.post(f"{MAILS}{mail.pk}/{verb}", body, format="json")


def test_a_client_cancels_its_mail_with_a_reason(olympus):
    client = caller("shop")
    mail = posted(client)

    answer = request_action(client, mail, "cancel", {"note": "Hera has moved"})

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    event = mail.events.last()
    assert (event.event, event.created_by, event.blob) == ("CANCELLED", "key:shop", '{"note": "Hera has moved"}')
    assert request_action(client, mail, "cancel").status_code == 200
    assert event_names(mail).count("CANCELLED") == 1


def test_a_body_is_not_needed(olympus):
    client = caller()
    mail = posted(client)

    assert client.post(f"{MAILS}{mail.pk}/hold/").json()["status"] == "held"
    assert client.post(f"{MAILS}{mail.pk}/release").json()["status"] == "queued"


def test_a_mail_is_sent_at_another_time(olympus):
    client = caller()
    mail = posted(client)
    send_at = database_clock.now().replace(microsecond=0) + dt.timedelta(days=2)

    answer = request_action(client, mail, "reschedule", {"send_at": send_at.isoformat(), "note": "The shop is closed"})

    shown = answer.json()
    assert (answer.status_code, shown["status"]) == (200, "queued")
    assert shown["send_at"] == shown["next_attempt"] == f"{send_at:%Y-%m-%dT%H:%M:%S.%fZ}"
    assert shown["summary"].startswith("Scheduled: to be sent at ")
    event = mail.events.last()
    assert (event.event, event.created_by) == ("RESCHEDULED", "key:zeus")


def test_a_mail_that_is_sent_cannot_be_rescheduled(olympus):
    client = caller()
    mail = posted(client)
    dispatch()
    answer = request_action(client, mail, "reschedule", {"send_at": database_clock.now().isoformat()})

    found = problem(answer, 409, "not_possible")

    assert (found["state"], found["possible"]) == ("done", [])


def test_too_late_names_the_state_and_what_is_possible(olympus):
    client = caller()
    mail = posted(client)
    dispatch()

    found = problem(request_action(client, mail, "hold"), 409, "not_possible")

    assert (found["state"], found["possible"]) == ("done", [])
    assert found["detail"] == "The email is sent, so it cannot be held. Possible actions now: none."


def test_a_mail_whose_text_was_removed_is_shown_and_not_reprocessed(olympus):
    client = caller()
    mail = posted(client)
    gone = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    Content.objects.filter(mail=mail).delete()
    Mail.objects.filter(pk=mail.pk).update(status=Status.DISCARDED, finished_at=gone, text_removed_at=gone)

    found = problem(request_action(client, mail, "reprocess"), 409, "not_possible")
    shown = client.get(f"{MAILS}{mail.pk}").json()

    assert (found["state"], found["possible"]) == ("discarded", [])
    assert "its body was deleted on 2026-01-02" in found["detail"]
    assert (shown["content"], shown["body_removed"]) == ("", "2026-01-02T00:00:00.000000Z")


def test_an_unknown_outcome_must_be_resolved(olympus):
    client = caller()
    olympus.lose_answer()
    mail = Mail.objects.get(
        pk=client.post(MAILS, HELLO | {"delivery_guarantee": "at-most-once"}, format="json").json()["id"]
    )
    dispatch()

    found = problem(request_action(client, mail, "reprocess"), 409, "not_possible")
    answer = request_action(client, mail, "resolve", {"outcome": "sent", "note": "Hera has it"})

    assert found["possible"] == ["resolve", "cancel"]
    assert (answer.status_code, answer.json()["status"]) == (200, "done")
    assert answer.json()["recipients_detail"][0]["state"] == "accepted"


def discarded(client, account):
    account.refuse(400)
    mail = posted(client)
    dispatch()
    account.behave()
    return mail


@pytest.mark.parametrize("body", [{"not_tried": True}, {"via": "hades"}])
def test_a_client_reprocesses_an_email_through_some_accounts(body, olympus, hades):
    client = caller()
    hades.disable()
    mail = discarded(client, olympus)
    hades.enable()

    answer = request_action(client, mail, "reprocess", body)

    assert (answer.status_code, answer.json()["status"]) == (200, "queued")
    assert dispatch() == 1
    assert client.get(f"{MAILS}{mail.pk}").json()["provider"] == "hades"
    assert (len(olympus.inbox()), len(hades.inbox())) == (0, 1)


def test_no_account_left_is_a_409_that_names_the_reason(olympus):
    client = caller()
    mail = discarded(client, olympus)

    found = problem(request_action(client, mail, "reprocess", {"not_tried": True}), 409, "no_account_left")

    assert (found["state"], found["possible"]) == ("discarded", ["reprocess"])
    assert "the email was already tried with olympus" in found["detail"]
    assert request_action(client, mail, "reprocess", {"via": None, "not_tried": False}).status_code == 200


def test_an_action_request_during_a_call_is_a_202_that_says_so(olympus):
    client = caller()
    mail = posted(client)
    from mails.tests.lifecycle.support import CallsInProgress

    CallsInProgress()

    answer = request_action(client, mail, "cancel")

    assert (answer.status_code, answer.json()["status"], answer.json()["pending_action"]) == (202, "sending", "cancel")


@pytest.mark.parametrize(
    ("verb", "body", "pointer"),
    [
        ("cancel", {"why": "x"}, "/why"),
        ("cancel", {"note": 7}, "/note"),
        ("cancel", {"note": "x" * 501}, "/note"),
        ("cancel", {"note": "\u202e"}, "/note"),
        ("resolve", {}, "/outcome"),
        ("resolve", {"outcome": ["sent"]}, "/outcome"),
        ("cancel", {"outcome": "sent"}, "/outcome"),
        ("cancel", {"via": "olympus"}, "/via"),
        ("reschedule", {}, "/send_at"),
        ("reschedule", {"send_at": None}, "/send_at"),
        ("reschedule", {"send_at": "2026-12-24T18:00:00"}, "/send_at"),
        ("reschedule", {"send_at": "2016-11-06T18:00:00Z"}, "/send_at"),
        ("reschedule", {"send_at": "9999-12-31T23:59:59Z"}, "/send_at"),
        ("reprocess", {"via": 7}, "/via"),
        ("reprocess", {"via": "x" * 65}, "/via"),
        ("reprocess", {"via": "charon"}, "/via"),
        ("reprocess", {"not_tried": "yes"}, "/not_tried"),
        ("reprocess", {"via": "charon", "not_tried": True}, "/not_tried"),
    ],
)
def test_a_wrong_body_is_named_and_nothing_is_done(verb, body, pointer):
    client = caller()
    mail = posted(client)

    found = problem(request_action(client, mail, verb, body), 400, "invalid_action")

    assert [error["pointer"] for error in found["errors"]] == [pointer]
    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]


def test_another_clients_mail_is_not_there():
    mail = posted(caller("shop"))

    problem(request_action(caller("other"), mail, "cancel"), 404, "not_found")

    assert Mail.objects.get().status == Status.QUEUED


def test_it_takes_the_scope():
    mail = posted(caller("shop"))
    client = caller("other", scopes=["mails:send", "mails:read"])

    assert "mails:manage" in problem(request_action(client, mail, "cancel"), 403, "missing_scope")["detail"]
    assert api_keys.Scope.MAILS_MANAGE in api_keys.SCOPES


def test_a_person_needs_the_permission_to_change_mails_for_an_action():
    mail = a_mail()
    url = f"{MAILS}{mail.pk}/cancel"

    assert browser_of(zeus()).post(url, {}, "application/json").status_code == 403
    answer = browser_of(hermes()).post(url, {}, "application/json")

    assert answer.status_code == 200
    assert mail.events.last().created_by == "user:hermes"


@pytest.mark.parametrize("verb", ["cancel", "hold", "release", "reprocess", "resolve"])
def test_reading_a_verb_is_a_405(verb):
    assert caller().get(f"{MAILS}{a_mail().pk}/{verb}").status_code == 405


def test_a_mail_that_keeps_moving_is_a_409_that_says_so(monkeypatch, olympus):
    client = caller()
    mail = posted(client)
    monkeypatch.setattr(writer, "record", lambda steps: set())

    assert "try again" in problem(request_action(client, mail, "cancel"), 409, "not_possible")["detail"]


def test_an_action_request_reads_as_it_was_written():
    action_request = ActionRequest(action=Action.CANCEL, by="key:shop", note="Hera has moved")

    assert ActionRequest.parse(action_request.as_text()) == action_request
