"""Webhooks over the API: who sees which, the secret that is shown once, deliveries, and answers to what is wrong."""

import datetime as dt
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from mails.access.api_keys import Scope
from mails.models import Event, Mail, Webhook
from mails.tests.builders import API, a_mail
from mails.tests.callers import HELLO, MAILS, Caller, caller, problem
from mails.tests.events.webhook_builders import URL, a_delivery, a_webhook
from mercury.lib import encryption
from mercury.lib.audit.models import AuditEntry

pytestmark = pytest.mark.django_db
LIST = "/api/v1.0/webhooks/"


@pytest.fixture
def zeus() -> Caller:
    return caller()


def add(client: Any, **fields: Any) -> Any:
    return client.post(LIST, {"url": URL} | fields, format="json")


def test_a_webhook_is_added_read_changed_and_removed(zeus: Caller) -> None:
    answer = add(zeus, events=["DONE", "BOUNCED"], description="Shop")
    assert answer.status_code == 201
    made = answer.json()
    assert made.pop("secret") == encryption.decrypt(Webhook.objects.get().secret)
    assert answer["Location"] == made["resource"]
    assert zeus.get(made["resource"]).json() == made
    assert (made["url"], made["api_key"], made["state"]) == (URL, "zeus", "active")
    assert zeus.get(f"{LIST}?expand=true").json()["webhooks"] == [made]
    assert zeus.get(made["deliveries"]).json()["deliveries"] == []

    changed = zeus.patch(made["resource"], {"events": [], "addresses": True}, format="json").json()
    assert changed == made | {"events": [], "addresses": True}
    assert zeus.patch(made["resource"], changed, format="json").status_code == 200  # as it was read
    assert zeus.delete(made["resource"]).status_code == 204
    problem(zeus.get(made["resource"]), 404)
    assert list(AuditEntry.objects.order_by("id").values_list("act", "by").filter(kind="webhook"))[-1] == (
        "delete",
        "key:zeus",
    )


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"url": "ftp://8.8.8.8/"}, "/url", "https"),
        ({"url": "http://8.8.8.8/"}, "/url", "MERCURY_PRIVATE_HOSTS_ALLOWED"),
        ({"url": "https://10.0.0.1/"}, "/url", "private address"),
        ({"url": "https://zeus:secret@8.8.8.8/"}, "/url", "user name or password"),
        ({"url": 17}, "/url", "must be text"),
        ({"events": ["DNE"]}, "/events/0", "Did you mean 'DONE'?"),
        ({"events": "DONE"}, "/events", "list"),
        ({"description": "x" * 201}, "/description", "200"),
        ({"api_key": "till"}, "/api_key", "its own emails"),
        ({"event": ["DONE"]}, "/event", "Did you mean 'events'?"),
    ],
)
def test_an_error_names_the_field_and_the_remedy(
    zeus: Caller, fields: dict[str, Any], pointer: str, words: str
) -> None:
    (error,) = problem(add(zeus, **fields), 400, "invalid_webhook")["errors"]
    assert error["pointer"] == pointer
    assert words in error["detail"]
    assert not Webhook.objects.exists()


def test_a_second_webhook_for_the_same_url_and_one_too_many_are_refused(
    zeus: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(zeus)
    (error,) = problem(add(zeus), 400, "invalid_webhook")["errors"]
    assert error["pointer"] == "/url"
    monkeypatch.setattr("mails.events.webhooks.operations.MOST_PER_KEY", 1)
    assert "Remove one" in problem(add(zeus, url=f"{URL}/2"), 409, "too_many_webhooks")["detail"]


def test_a_key_sees_its_own_webhooks_only(zeus: Caller) -> None:
    till = caller("till")
    other = a_delivery(a_webhook(till.key))
    page = f"{LIST}{other.webhook_id}"
    assert zeus.get(LIST).json()["webhooks"] == []
    for answer in (
        zeus.get(page),
        zeus.patch(page, {}, format="json"),
        zeus.delete(page),
        zeus.post(f"{page}/test"),
        zeus.post(f"{page}/rotate-secret"),
        zeus.get(f"{page}/deliveries/"),
        zeus.get(f"{page}/deliveries/{other.pk}"),
        zeus.post(f"{page}/deliveries/{other.pk}/redeliver"),
        zeus.get(f"{LIST}{a_webhook(zeus.key).pk}/deliveries/{other.pk}"),
        zeus.get(f"{LIST}nonsense"),
    ):
        problem(answer, 404)


def test_the_scopes_of_a_key_are_needed() -> None:
    reader, writer = caller("reader", scopes=[Scope.WEBHOOKS_READ]), caller("writer", scopes=[Scope.WEBHOOKS_WRITE])
    assert reader.get(LIST).status_code == 200
    problem(add(reader), 403, "missing_scope")
    problem(writer.get(LIST), 403, "missing_scope")
    assert add(writer).status_code == 201


def test_a_person_names_the_api_key_and_sees_all(zeus: Caller) -> None:
    client, user = APIClient(), User.objects.create_user("argus")
    client.force_login(user)
    problem(client.get(LIST), 403)
    names = ("view_webhook", "add_webhook")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    assert problem(add(client), 400)["errors"][0]["pointer"] == "/api_key"
    assert "no API key" in problem(add(client, api_key="nobody"), 400)["errors"][0]["detail"]
    made = add(client, api_key="zeus").json()
    assert (made["api_key"], made["created_by"]) == ("zeus", "user:argus")
    assert client.get(LIST).json()["meta"]["total"] == 1
    problem(client.post(f"{made['resource']}/disable"), 403)
    delivery = a_delivery(Webhook.objects.get(), a_mail(API))
    shown = client.get(f"{made['deliveries']}{delivery.pk}").json()
    assert shown["request"] is None  # without mails.view_mail


def test_a_secret_is_rotated_and_shown_once(zeus: Caller) -> None:
    page = f"{LIST}{a_webhook(zeus.key).pk}"
    rotated = zeus.post(f"{page}/rotate-secret", {"hours": 2}, format="json").json()
    assert rotated["secret"] == encryption.decrypt(Webhook.objects.get().secret)
    ends = dt.datetime.fromisoformat(rotated["previous_secret_until"])
    assert dt.timedelta(hours=1) < ends - timezone.now() <= dt.timedelta(hours=2)
    assert "secret" not in zeus.get(page).json()
    problem(zeus.post(f"{page}/rotate-secret", {"hours": 721}, format="json"), 400)


def test_a_webhook_is_disabled_enabled_and_tested(zeus: Caller) -> None:
    page = f"{LIST}{a_webhook(zeus.key).pk}"
    disabled = zeus.post(f"{page}/disable", {"reason": "moving"}, format="json").json()
    assert (disabled["state"], disabled["disabled_by"], disabled["disabled_reason"]) == (
        "disabled",
        "key:zeus",
        "moving",
    )
    problem(zeus.post(f"{page}/test"), 409, "webhook_disabled")
    assert zeus.post(f"{page}/enable").json()["state"] == "active"
    answer = zeus.post(f"{page}/test")
    assert answer.status_code == 202
    shown = zeus.get(answer.json()["url"]).json()
    assert (shown["status"], shown["event"], shown["mail"]) == ("waiting", "", None)
    assert '"type":"mercury.test"' in shown["request"]["body"]


def test_a_delivery_shows_its_request_and_is_delivered_again(zeus: Caller) -> None:
    mail = zeus.post(MAILS, HELLO, format="json").json()["id"]
    webhook = a_webhook(zeus.key)
    delivery = a_delivery(webhook, Mail.objects.get(), status="failed", attempts=9, error="It answered 500.")
    a_delivery(webhook)
    page = f"{LIST}{webhook.pk}/deliveries/"
    assert zeus.get(f"{page}?filter=status,eq,failed;mail,eq,{mail}").json()["meta"]["total"] == 1
    first = zeus.get(f"{page}?cursor=&per_page=1").json()
    assert zeus.get(first["meta"]["next_url"]).json()["deliveries"] == [f"http://testserver{page}{delivery.pk}"]
    shown = zeus.get(f"{page}{delivery.pk}").json()
    assert (shown["mail"], shown["event"], shown["event_id"]) == (mail, delivery.event, delivery.event_id)
    headers = shown["request"]["headers"]
    assert headers["webhook-id"] == shown["message_id"]
    assert headers["webhook-signature"] == "v1,…"
    assert "hera@" not in shown["request"]["body"]

    again = zeus.post(f"{page}{delivery.pk}/redeliver")
    assert again.status_code == 202
    assert (again.json()["status"], again.json()["attempts"]) == ("waiting", 0)


def test_the_events_of_a_period_are_delivered_again(zeus: Caller) -> None:
    zeus.post(MAILS, HELLO, format="json")
    webhook = a_webhook(zeus.key, position=Event.objects.latest("id").pk)
    a_delivery(webhook, Mail.objects.get(), status="failed")
    page = f"{LIST}{webhook.pk}/redeliver"
    since = (timezone.now() - dt.timedelta(hours=1)).isoformat()
    dry = zeus.post(f"{page}?dry_run=true", {"since": since}, format="json")
    assert (dry.status_code, dry.json()) == (200, {"redelivered": 1})
    assert webhook.deliveries.get().status == "failed"
    problem(zeus.post(f"{page}?dry_run=maybe", {"since": since}, format="json"), 400, "invalid_dry_run")
    answer = zeus.post(page, {"since": since}, format="json")
    assert (answer.status_code, answer.json()) == (202, {"redelivered": 1})
    assert zeus.post(page, {"since": since, "only_failed": False}, format="json").json()["redelivered"] > 1
    for fields, pointer in (
        ({}, "/since"),
        ({"since": "soon"}, "/since"),
        ({"since": since, "until": since}, "/since"),
    ):
        assert problem(zeus.post(page, fields, format="json"), 400, "invalid_range")["errors"][0]["pointer"] == pointer
