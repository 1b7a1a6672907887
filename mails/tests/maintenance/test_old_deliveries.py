"""The log of deliveries is bounded: a week after their end, and 30 days where a webhook stays disabled."""

import datetime as dt

import pytest

from mails.maintenance import old_deliveries
from mails.maintenance.old_deliveries import OldDeliveries
from mails.models import Webhook, WebhookDelivery
from mails.tests.callers import caller
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def add_deliveries(*ages: tuple[str, int]) -> None:
    """Deliveries with this status that were created, and ended if they have, so many days ago."""
    now = database_clock.now()
    webhook = Webhook.objects.create(api_key=caller().key, url="https://olimpus.com/", created_at=now, position=0)
    for number, (status, days) in enumerate(ages):
        moment = now - dt.timedelta(days=days)
        ended = {"next_attempt_at": moment} if status == "waiting" else {"finished_at": moment}
        WebhookDelivery.objects.create(webhook=webhook, event_id=number, status=status, created_at=moment, **ended)


def left() -> list[int | None]:
    return list(WebhookDelivery.objects.order_by("pk").values_list("event_id", flat=True))


def test_deliveries_go_a_week_after_their_end_and_waiting_ones_after_30_days(monkeypatch):
    monkeypatch.setattr(old_deliveries, "BATCH", 2)
    add_deliveries(("waiting", 31), ("waiting", 29), ("failed", 8), ("delivered", 8), ("delivered", 6))

    assert not OldDeliveries().remove(seconds=60)

    assert left() == [1, 4]


def test_none_is_kept_longer_than_emails(settings):
    settings.MERCURY_MAIL_RETENTION = dt.timedelta(days=2)
    add_deliveries(("waiting", 3), ("delivered", 3), ("delivered", 1))

    OldDeliveries().remove(seconds=60)

    assert left() == [2]


def test_a_run_goes_on_where_its_time_was_over():
    add_deliveries(("delivered", 8))
    run = OldDeliveries()

    assert run.remove(seconds=0)
    assert left() == [0]
    assert not run.remove(seconds=60)
    assert left() == []
