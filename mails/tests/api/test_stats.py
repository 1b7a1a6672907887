"""The figures over the API: for those who may read them, as described."""

import pytest
from jsonschema import Draft202012Validator

from mails import pauses
from mails.access.api_keys import Scope
from mails.models import Worker
from mails.queues import QueueName
from mails.reporting import rollups
from mails.tests.builders import a_mail, dispatch
from mails.tests.callers import MAILS, caller, problem
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)

STATS = "/api/v1.0/stats/"
RESOURCES = ["now", "queues", "applications", "providers", "series", "breakers"]


@pytest.fixture
def operator():
    return caller("ops", scopes=[Scope.STATS_READ])


@pytest.mark.parametrize("resource", RESOURCES)
def test_figures_of_the_instance_need_a_scope_of_their_own(resource, operator):
    assert operator.get(STATS + resource).status_code == 200
    problem(caller("zeus", scopes=[Scope.MAILS_READ]).get(STATS + resource), 403, "missing_scope")


def test_now_states_the_status_in_one_sentence_with_alerts(operator, olympus):
    a_mail()

    now = operator.get(STATS + "now").json()

    assert now["summary"].startswith("No worker is running")
    assert now["alerts"][0]["code"] == "no_worker"
    assert now["queues"][0] | {"oldest": 0} == {
        "queue": "text",
        "due": 1,
        "oldest": 0,
        "deferred": 0,
        "next_at": None,
        "last_at": None,
        "scheduled": 0,
        "next_scheduled_at": None,
        "paused_at": None,
        "paused_by": "",
        "paused_note": "",
        "in_progress": 0,
        "share": 100,
        "rate": None,
    }
    assert [account["name"] for account in now["accounts"]] == ["olympus"]


def test_sent_emails_are_counted_by_queue_provider_application_and_minute(operator, olympus):
    for number in range(3):
        a_mail(subject=f"mail {number}")
    dispatch()
    rollups.fold(database_clock.now())

    queues = operator.get(STATS + "queues").json()
    [text] = queues["queues"]
    [provider] = operator.get(STATS + "providers").json()["providers"]
    [application] = operator.get(STATS + "applications").json()["applications"]
    points = operator.get(STATS + "series?since=10m").json()["points"]

    assert (text["name"], text["sent"], queues["total"]["sent"]) == ("text", 3, 3)
    assert text["queue_time"]["p95"] > 0
    assert (provider["name"], provider["accepted"], provider["share"], provider["fastest"]) == ("olympus", 3, 1.0, True)
    assert (application["name"], application["sent"]) == ("Users and CLI", 3)
    assert len(points) == 11
    assert sum(point["done"] for point in points) == 3


def test_breaker_history_has_what_people_set(operator, olympus):
    [change] = operator.get(STATS + "breakers?since=1d").json()["changes"]

    assert (change["account"], change["what"], change["by"]) == ("olympus", "registered", "test")


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("since=yesterday", "since"),
        ("until=never", "until"),
        ("since=1h&until=2h", "since"),
        ("per=week", "per"),
        ("since=30d&per=minute", "per"),
        ("since=99999999999d", "since"),
        ("since=0001-01-01", "per"),
    ],
)
def test_a_period_that_cannot_be_read_is_a_400_that_names_the_parameter(operator, query, parameter):
    found = problem(operator.get(f"{STATS}queues?{query}"), 400, "invalid_period")

    assert found["errors"][0]["parameter"] == parameter


def test_a_period_may_be_given_by_its_ends(operator):
    answer = operator.get(STATS + "series?since=2026-11-24T12:00Z&until=2026-11-24T15:00&per=hour").json()

    assert (answer["since"], answer["per"]) == ("2026-11-24T12:00:00.000000Z", "hour")
    assert [point["start"][11:16] for point in answer["points"]] == ["12:00", "13:00", "14:00"]


def test_an_email_states_its_status_in_one_sentence(olympus):
    zeus = caller()
    url = zeus.post(MAILS, {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}).json()["url"]
    waiting = zeus.get(url)

    dispatch()

    assert "No worker is running for queue text" in waiting.json()["summary"]
    assert zeus.get(url).json()["summary"].startswith("Accepted by olympus ")


def test_a_paused_queue_is_shown_by_its_figures_and_by_its_emails(operator, olympus):
    zeus = caller()
    url = zeus.post(MAILS, {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}).json()["url"]

    pauses.pause(QueueName.TEXT, by="user:hermes", note="wrong template")

    queue = operator.get(STATS + "now").json()["queues"][0]
    [listed] = zeus.get(MAILS + "?expand=true").json()["mails"]
    assert (queue["paused_by"], queue["paused_note"]) == ("hermes", "wrong template")
    assert zeus.get(url).json()["summary"] == listed["summary"]
    assert "Queue text is paused since" in listed["summary"]
    pauses.resume(QueueName.TEXT, by="user:hermes")
    dispatch()
    assert "paused" not in zeus.get(url).json()["summary"]


def test_the_age_in_a_summary_does_not_change_the_etag(olympus, monkeypatch):
    zeus = caller()
    url = zeus.post(MAILS, {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}).json()["url"]
    first = zeus.get(url)
    monkeypatch.setattr("mails.api.serializers.mails.summarize", lambda mail, now, obstacles: "Stored 5 min ago.")

    assert zeus.get(url, headers={"If-None-Match": first["ETag"]}).status_code == 304


@pytest.mark.parametrize("resource", RESOURCES)
def test_an_answer_is_as_described(resource, operator, client, olympus, hades):
    olympus.refuse(503)
    for number in range(5):
        a_mail(subject=f"mail {number}")
    dispatch()
    Worker.objects.create(id="one", started_at=database_clock.now(), seen_at=database_clock.now())
    document = client.get("/api/v1.0/schema?format=json").json()
    described = document["paths"][STATS + resource]["get"]["responses"]["200"]["content"]["application/json"]["schema"]

    answer = operator.get(f"{STATS}{resource}").json()

    Draft202012Validator({**described, "components": document["components"]}).validate(answer)
