"""Webhooks on the command line."""

import pytest

from mails.access import api_keys
from mails.intake.client import Client
from mails.models import ApiKey, Event, Webhook, WebhookDelivery
from mails.states import Source
from mails.tests.builders import a_mail
from mails.tests.commandline import run
from mails.tests.events.webhook_builders import URL, a_delivery, a_webhook
from mercury.lib import encryption
from mercury.lib.commands import ExitCode

pytestmark = pytest.mark.django_db


@pytest.fixture
def key() -> ApiKey:
    return api_keys.create("shop", scopes=api_keys.SCOPES, senders=["*"])[0]


def test_a_webhook_is_added_listed_and_shown(key: ApiKey) -> None:
    assert "There are no webhooks" in run("webhooks", "list").out
    made = run("webhooks", "add", URL, "--api-key", "shop", "--event", "DONE", "--note", "Orders", "--json").document

    webhook = Webhook.objects.get()
    assert made == {"id": str(webhook.pk), "url": URL, "secret": encryption.decrypt(webhook.secret)}
    assert (webhook.created_by, webhook.events, webhook.description) == ("command line", ["DONE"], "Orders")
    [row] = run("webhooks", "list", "--api-key", "shop", "--json").lines
    assert (row["url"], row["state"], row["delivered_share"], row["waiting"]) == (URL, "active", None, 0)
    shown = run("webhooks", "show", made["id"])
    assert "Events                 DONE" in shown.out
    assert "whsec_" not in shown.out


def test_what_is_wrong_is_said(key: ApiKey) -> None:
    assert "private address" in run("webhooks", "add", "https://10.0.0.1/", "--api-key", "shop").error
    assert "private address" in run("webhooks", "add", "https://10.0.0.1/", "--api-key", "shop", "--dry-run").error
    assert run("webhooks", "add", URL, "--api-key", "till").code == ExitCode.USAGE_ERROR
    assert "invalid choice" in run("webhooks", "add", URL, "--api-key", "shop", "--event", "DNE").error
    assert "webhooks list" in run("webhooks", "show", "01a22c10-7170-7037-9d1f-216eef6d3846").error


def test_a_webhook_is_tested_rotated_disabled_enabled_and_removed(key: ApiKey) -> None:
    name = str(a_webhook(key).pk)
    number = run("webhooks", "test", name, "--json").document["delivery"]
    [row] = run("webhooks", "deliveries", name, "--json").lines
    assert (row["id"], row["event"], row["status"]) == (number, "test", "waiting")
    assert (
        run("webhooks", "rotate-secret", name, "--hours", "0", "--yes", "--json")
        .document["secret"]
        .startswith("whsec_")
    )
    assert "is disabled." in run("webhooks", "disable", name, "--reason", "moving", "--yes").out
    assert "Enable it first" in run("webhooks", "test", name).error
    assert "is enabled." in run("webhooks", "enable", name).out
    assert "Nothing to do" in run("webhooks", "enable", name).out
    assert run("webhooks", "remove", name, "--yes", "--json").document["removed"] is True
    assert not Webhook.objects.exists()


def test_events_are_delivered_again(key: ApiKey) -> None:
    mail = a_mail(Client(source=Source.API, api_key=key))
    webhook = a_webhook(key, position=Event.objects.latest("id").pk)
    failed = a_delivery(webhook, mail, status="failed", error="It answered 500.")
    name = str(webhook.pk)

    assert run("webhooks", "redeliver", name).code == ExitCode.USAGE_ERROR
    assert "no delivery 999" in run("webhooks", "redeliver", name, "--delivery", "999").error
    dry = run("webhooks", "redeliver", name, "--since", "1h", "--dry-run")
    assert "Would deliver 1 event whose delivery was given up" in dry.out
    assert run("webhooks", "redeliver", name, "--since", "1h", "--dry-run", "--json").document["events"] == 1
    assert run("webhooks", "redeliver", name, "--since", "1h", "--yes", "--json").document["redelivered"] == 1
    WebhookDelivery.objects.filter(pk=failed.pk).update(
        status="delivered", next_attempt_at=None, finished_at=failed.created_at
    )
    assert run("webhooks", "redeliver", name, "--delivery", str(failed.pk), "--json").document["redelivered"] == 1
    assert "Nothing to do" in run("webhooks", "redeliver", name, "--since", "1h", "--yes").out
    assert run("webhooks", "redeliver", name, "--since", "1h", "--all", "--yes", "--json").document["redelivered"] > 1
    assert len(run("webhooks", "deliveries", name, "--mail", str(mail.pk), "--status", "waiting", "--json").lines) > 1
