import datetime as dt

import pytest
from django.db import OperationalError, connection
from django.test import Client

from mails import pauses
from mails.models import Worker
from mails.queues import QueueName
from mercury.lib.database import database_clock
from mercury.observability import health


def test_live_answers_without_any_io():
    answer = Client().get("/health/live")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_health_is_only_for_reading(path):
    assert Client().post(path).status_code == 405


@pytest.mark.django_db
def test_ready_when_the_database_answers_and_every_migration_is_applied():
    for _ in range(2):
        answer = Client().get("/health/ready")

        assert answer.status_code == 200
        assert answer.json() == {"status": "ok", "checks": {"database": "ok", "migrations": "ok"}, "sending": "ok"}


def test_an_instance_is_ready_while_sending_is_paused_and_says_so(client, db):
    pauses.pause(by="hermes")

    answer = client.get("/health/ready")

    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    assert answer.json()["sending"].startswith("paused since 20")


def test_an_instance_with_a_paused_queue_is_ready_and_says_which(client, db):
    pauses.pause(QueueName.BULK, by="hermes")

    answer = client.get("/health/ready")

    assert answer.status_code == 200
    assert answer.json()["sending"].startswith("paused queues: bulk since 20")


def test_not_ready_without_a_database(monkeypatch):
    def gone():
        raise OperationalError("no route to secret-host")

    monkeypatch.setattr(health._Migrations, "count_missing", gone)

    answer = Client().get("/health/ready")

    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert answer.json()["checks"]["database"] == "does not answer"
    assert b"secret-host" not in answer.content


@pytest.mark.django_db
def test_not_ready_before_the_migrations_are_applied(monkeypatch):
    monkeypatch.setattr(health._Migrations, "applied", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'mails'")

    answer = Client().get("/health/ready")

    assert answer.status_code == 503
    assert "manage.py migrate" in answer.json()["checks"]["migrations"]
    assert health._Migrations.applied is False


@pytest.mark.django_db
def test_workers_are_ok_while_one_polls_and_unavailable_without_one(client):
    assert client.get("/health/workers").status_code == 503

    now = database_clock.now()
    Worker.objects.create(id="one", started_at=now, seen_at=now, polled_at=now)
    answer = client.get("/health/workers")

    assert (answer.status_code, answer.json()["workers"]) == (200, 1)
    assert answer.json()["last_poll_seconds"] < 60


@pytest.mark.django_db
def test_a_worker_with_a_heartbeat_that_does_not_poll_is_not_ok(client):
    now = database_clock.now()
    Worker.objects.create(id="one", started_at=now, seen_at=now, polled_at=now - dt.timedelta(seconds=61))

    answer = client.get("/health/workers")

    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
