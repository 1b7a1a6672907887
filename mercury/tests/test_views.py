import datetime as dt

import pytest
from django.db import OperationalError, connection
from django.test import Client, RequestFactory

from mails import pauses
from mails.models import Worker
from mails.queues import QueueName
from mercury import views
from mercury.lib.database import database_clock

PAGES = {"HTTP_ACCEPT": "text/html"}


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

    monkeypatch.setattr(views._Migrations, "missing", gone)

    answer = Client().get("/health/ready")

    assert answer.status_code == 503
    assert answer["Retry-After"]
    assert answer.json()["checks"]["database"] == "does not answer"
    assert b"secret-host" not in answer.content


@pytest.mark.django_db
def test_not_ready_before_the_migrations_are_applied(monkeypatch):
    monkeypatch.setattr(views._Migrations, "applied", False)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM django_migrations WHERE app = 'mails'")

    answer = Client().get("/health/ready")

    assert answer.status_code == 503
    assert "manage.py migrate" in answer.json()["checks"]["migrations"]
    assert views._Migrations.applied is False


def test_the_root_names_each_endpoint_with_its_method_and_url():
    answer = Client().get("/api/v1.0/", HTTP_HOST="127.0.0.1:8000")

    (version, endpoints), *others = answer.json()["versions"].items()
    assert (version, others) == ("v1.0", [])
    assert endpoints["create a mail [POST]"] == "http://127.0.0.1:8000/api/v1.0/mails/"
    assert endpoints["read an event [GET]"] == "http://127.0.0.1:8000/api/v1.0/mails/{mail_id}/events/{event_id}"
    assert endpoints["remove a provider account [DELETE]"].endswith("/api/v1.0/dispatcher/providers/{account_id}")


def test_the_root_of_the_api_answers_without_a_last_slash_too():
    answer = Client().get("/api/v1.0", HTTP_HOST="127.0.0.1:8000")

    assert (answer.status_code, answer.json()) == (200, Client().get("/api/v1.0/", HTTP_HOST="127.0.0.1:8000").json())


def test_a_host_name_that_is_not_ours_gets_a_friendly_400():
    answer = Client().get("/api/v1.0/", HTTP_HOST="evil.example")

    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:problem:mercury:wrong_host"
    assert "ALLOWED_HOSTS" in answer.json()["detail"]
    page = Client().get("/", HTTP_HOST="evil.example", **PAGES)
    assert page.status_code == 400
    assert "ALLOWED_HOSTS" in page.content.decode()


def test_an_unknown_path_is_json_for_clients_and_a_page_for_people():
    answer = Client().get("/nowhere")
    page = Client().get("/nowhere", **PAGES)

    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
    assert (page.status_code, page["Content-Type"].partition(";")[0]) == (404, "text/html")
    assert page["X-Request-ID"] in page.content.decode()
    assert Client().get("/api/v1.0/nowhere", **PAGES)["Content-Type"] == "application/problem+json"


def test_a_form_without_its_token_is_told_to_reload(db):
    page = Client(enforce_csrf_checks=True).post("/login/", {}, **PAGES)

    assert page.status_code == 403
    assert "reload" in page.content.decode()


def test_the_error_pages_ask_nothing_of_the_database():
    request = RequestFactory().get("/", **PAGES)

    for page, status in ((views.server_error, 500), (views.store_unavailable, 503)):
        assert page(request).status_code == status
    for page, status in ((views.bad_request, 400), (views.permission_denied, 403), (views.not_found, 404)):
        assert page(request, Exception()).status_code == status


def test_an_error_page_without_its_template_is_plain_words(settings):
    settings.TEMPLATES = [settings.TEMPLATES[0] | {"DIRS": [], "APP_DIRS": False}]

    page = views.server_error(RequestFactory().get("/", **PAGES))

    assert page.status_code == 500
    assert b"Unexpected error" in page.content


@pytest.mark.django_db
def test_workers_are_well_while_one_drains_and_unavailable_without_one(client):
    assert client.get("/health/workers").status_code == 503

    now = database_clock.now()
    Worker.objects.create(id="one", started_at=now, seen_at=now, polled_at=now)
    answer = client.get("/health/workers")

    assert (answer.status_code, answer.json()["workers"]) == (200, 1)
    assert answer.json()["last_drain_seconds"] < 60


@pytest.mark.django_db
def test_a_worker_that_beats_and_does_not_drain_is_not_well(client):
    now = database_clock.now()
    Worker.objects.create(id="one", started_at=now, seen_at=now, polled_at=now - dt.timedelta(seconds=61))

    answer = client.get("/health/workers")

    assert (answer.status_code, answer.json()["status"]) == (503, "unavailable")
