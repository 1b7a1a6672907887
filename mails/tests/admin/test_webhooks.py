"""Webhooks in the admin: add, change, rotate, disable, deliver again; the list, the deliveries and one of them."""

import datetime as dt
import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from mails.access import api_keys
from mails.intake.client import Client as Submitter
from mails.models import ApiKey, Event, Webhook, WebhookDelivery
from mails.states import Source
from mails.tests.builders import a_mail
from mails.tests.events.webhook_builders import URL, a_delivery, a_webhook
from mercury.lib import encryption
from mercury.lib.audit.models import AuditEntry

pytestmark = pytest.mark.django_db
PAGE = "/admin/webhooks/"


@pytest.fixture
def key() -> ApiKey:
    return api_keys.create("shop", scopes=api_keys.SCOPES, senders=["*"])[0]


@pytest.fixture
def webhook(key: ApiKey) -> Webhook:
    return a_webhook(key)


def text_of(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def test_a_webhook_is_added_and_its_secret_is_shown_once(operator: Client, key: ApiKey) -> None:
    assert "No webhooks yet" in text_of(operator.get(PAGE))
    answer = operator.post(f"{PAGE}add/", {"api_key": key.pk, "url": URL, "events": ["DONE"]}, follow=True)

    webhook = Webhook.objects.get()
    secret = encryption.decrypt(webhook.secret)
    assert secret in text_of(answer)
    assert secret not in text_of(operator.get(f"{PAGE}{webhook.pk}/"))
    assert (webhook.created_by, webhook.events, webhook.addresses) == ("user:hermes", ["DONE"], False)
    assert "All webhooks accept events." in text_of(operator.get(PAGE))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"url": "https://10.0.0.1/"}, "private address"),
        ({"url": "http://8.8.8.8/"}, "MERCURY_PRIVATE_HOSTS_ALLOWED"),
        ({"url": ""}, "required"),
        ({"url": URL}, "has a webhook with this URL"),
        ({"events": ["DNE"]}, "DNE"),
    ],
)
def test_an_error_is_shown_and_what_was_typed_is_kept(
    operator: Client, webhook: Webhook, change: dict[str, Any], words: str
) -> None:
    fields = {"api_key": webhook.api_key_id, "url": "https://8.8.4.4/", "description": "Orders"}
    answer = operator.post(f"{PAGE}add/", fields | change)

    assert answer.status_code == 400
    assert words in text_of(answer)
    assert 'value="Orders"' in text_of(answer)
    assert Webhook.objects.count() == 1


def test_a_webhook_is_changed_rotated_disabled_enabled_and_removed(operator: Client, webhook: Webhook) -> None:
    page = f"{PAGE}{webhook.pk}/"
    before = encryption.decrypt(webhook.secret)
    assert "The webhook was saved." in text_of(
        operator.post(f"{page}change/", {"url": URL, "description": "Orders", "addresses": "on"}, follow=True)
    )
    assert "Keep the previous secret valid for" in text_of(operator.get(f"{page}rotate/"))
    rotated = text_of(operator.post(f"{page}rotate/", {"hours": "1"}, follow=True))
    webhook.refresh_from_db()
    assert (webhook.description, webhook.addresses) == ("Orders", True)
    assert encryption.decrypt(webhook.secret) in rotated
    assert before not in rotated
    assert operator.post(f"{page}rotate/", {"hours": "1000"}).status_code == 404
    disabled = text_of(operator.post(f"{page}disable/", {"reason": "It moves."}, follow=True))
    assert "Disabled by hermes" in disabled
    assert "It moves." in disabled
    assert "Enable it first." in text_of(operator.post(f"{page}test/", follow=True))
    assert "The webhook is enabled." in text_of(operator.post(f"{page}enable/", follow=True))
    assert "was removed" in text_of(operator.post(f"{page}remove/", follow=True))
    assert not Webhook.objects.exists()
    acts = AuditEntry.objects.filter(kind="webhook", by="user:hermes").order_by("id").values_list("act", flat=True)
    assert list(acts) == ["change", "rotate", "change", "change", "change", "delete"]


def test_a_test_event_leads_to_its_delivery(operator: Client, webhook: Webhook) -> None:
    assert URL in text_of(operator.get(f"{PAGE}{webhook.pk}/test/"))
    page = text_of(operator.post(f"{PAGE}{webhook.pk}/test/", follow=True))

    assert "Test event" in page
    assert "mercury.test" in page


def test_the_list_shows_first_what_needs_a_person(operator: Client, key: ApiKey) -> None:
    a_webhook(key, url="https://8.8.8.8/fine")
    a_webhook(key, url="https://8.8.8.8/slow", failing_since=timezone.now(), last_error="It answered 503.")
    ended = a_webhook(key, url="https://8.8.8.8/off", disabled_at=timezone.now(), disabled_by="Mercury")
    a_delivery(ended, status="delivered")
    a_delivery(ended, status="failed")

    page = text_of(operator.get(PAGE))

    assert "Of 3 webhooks, 1 disabled and 1 failing." in page
    assert page.index("/off") < page.index("/slow") < page.index("/fine")
    assert "50%" in page
    assert "It answered 503." in page
    assert f'href="{PAGE}{ended.pk}/"' in text_of(operator.get("/admin/"))  # its alert
    assert "Keep disabled…" in text_of(operator.get(f"{PAGE}{ended.pk}/"))
    assert "Nothing is sent." not in text_of(operator.get(f"{PAGE}{ended.pk}/"))
    api_keys.revoke(key)
    assert "revoked or has expired" in text_of(operator.get(f"{PAGE}{Webhook.objects.all()[0].pk}/"))


def test_deliveries_are_filtered_searched_and_paged(
    operator: Client, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mails.admin.webhooks.delivery_list.PER_PAGE", 2)
    mail = a_mail()
    done = a_delivery(webhook, mail, status="delivered", status_code=200)
    tests = [a_delivery(webhook) for _ in range(4)]
    page = f"{PAGE}{webhook.pk}/"

    def shown(query: dict[str, Any]) -> list[int]:
        return [row.pk for row, _ in operator.get(page, query).context["log"].rows]

    newest = [row.pk for row in (*tests[::-1], done)]
    assert shown({}) == newest[:2]
    log = operator.get(page).context["log"]
    assert (log.newer, log.older) == (None, newest[1])
    assert shown({"before": newest[1]}) == newest[2:4]
    assert shown({"after": newest[2]}) == newest[:2]
    assert shown({"status": "delivered"}) == [done.pk]
    for words in (mail.pk, done.event.lower(), done.event_id, done.message_id):
        assert done.pk in shown({"q": str(words)})
    assert shown({"q": "test"}) == newest[:2]
    assert "No delivery matches" in text_of(operator.get(page, {"q": "BOUNCED"}))


def test_a_delivery_shows_request_and_answer_and_is_delivered_again(operator: Client, key: ApiKey) -> None:
    mail = a_mail(Submitter(source=Source.API, api_key=key))
    delivery = a_delivery(
        a_webhook(key), mail, status="failed", attempts=9, status_code=500, answer="<b>Oops", error="It answered 500."
    )
    page = f"{PAGE}{delivery.webhook_id}/deliveries/{delivery.pk}/"

    shown = text_of(operator.get(page))
    assert "Given up" in shown
    assert "&lt;b&gt;Oops" in shown
    assert delivery.message_id in shown
    assert "v1,…" in shown
    assert f"/admin/mails/mail/{mail.pk}/change/" in shown
    assert "once more" in text_of(operator.get(f"{page}redeliver/"))
    assert "will be delivered again" in text_of(operator.post(f"{page}redeliver/", follow=True))
    assert WebhookDelivery.objects.get().status == "waiting"


def test_a_delivery_that_waits_for_earlier_events_names_no_time(operator: Client, key: ApiKey) -> None:
    delivery = a_delivery(a_webhook(key), a_mail(Submitter(source=Source.API, api_key=key)))

    log = text_of(operator.get(f"{PAGE}{delivery.webhook_id}/"))
    page = text_of(operator.get(f"{PAGE}{delivery.webhook_id}/deliveries/{delivery.pk}/"))

    assert "after earlier events" in log
    assert "<dt>Next attempt</dt><dd><strong>waits</strong>" in page


def test_the_events_of_a_period_are_delivered_again(operator: Client, key: ApiKey) -> None:
    mail = a_mail(Submitter(source=Source.API, api_key=key))
    webhook = a_webhook(key, position=Event.objects.latest("id").pk)
    a_delivery(webhook, mail, status="failed")
    since = f"{timezone.now() - dt.timedelta(hours=1):%Y-%m-%dT%H:%M}"
    page = f"{PAGE}{webhook.pk}/redeliver/"

    assert operator.get(page).status_code == 200
    answer = operator.post(page, {"since": since, "until": "2001-01-01T00:00", "only_failed": "on"})
    assert answer.status_code == 400
    assert "after the beginning" in text_of(answer)
    asked = text_of(operator.post(page, {"since": since, "only_failed": "on"}))
    assert f"{webhook.url} gets 1 event whose delivery was given up from" in asked
    assert "Deliver 1 event again?" in asked
    assert webhook.deliveries.get().status == "failed"
    confirmed = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', asked))
    assert confirmed["only_failed"] == "on"
    assert "1 event will be delivered again." in text_of(operator.post(page, confirmed, follow=True))
    assert webhook.deliveries.get().status == "waiting"
    none = operator.post(page, {"since": since, "only_failed": "on"}, follow=True)
    assert "There is no event whose delivery was given up" in text_of(none)
