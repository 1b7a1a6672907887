"""Idempotency keys and rows of dead workers go after a day, however many there are."""

import datetime as dt

import pytest

from mails.maintenance import old_rows
from mails.models import IdempotencyKey, Worker
from mails.tests.builders import a_mail
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def add_keys(*ages):
    mail, now = a_mail(), database_clock.now()
    for age in ages:
        IdempotencyKey.objects.create(
            owner="command", key=f"{age}", body_hash="", mail=mail, created_at=now - dt.timedelta(hours=age)
        )


def test_idempotency_keys_are_forgotten_after_a_day():
    add_keys(23, 25)

    assert old_rows.remove(seconds=1.0) == 1

    assert [row.key for row in IdempotencyKey.objects.all()] == ["23"]


@pytest.mark.parametrize(("seconds", "left"), [(60.0, []), (0.0, ["25"])])
def test_many_keys_go_in_batches_the_oldest_first_until_the_time_is_over(monkeypatch, seconds, left):
    monkeypatch.setattr(old_rows, "BATCH", 2)
    add_keys(25, 27, 26)

    old_rows.remove(seconds=seconds)

    assert [row.key for row in IdempotencyKey.objects.all()] == left


def test_a_worker_that_died_a_day_ago_is_forgotten():
    now = database_clock.now()
    for name, age in (("dead", 25), ("silent", 23)):
        seen_at = now - dt.timedelta(hours=age)
        Worker.objects.create(id=name, started_at=seen_at, seen_at=seen_at)

    old_rows.remove(seconds=1.0)

    assert [worker.id for worker in Worker.objects.all()] == ["silent"]
