"""`/metrics` as Prometheus reads it: who may, what it says, and that counters never fall."""

import datetime as dt
import ipaddress

import pytest
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from mails import pauses
from mails.access import rate_limits
from mails.models import Event, EventSink, SubmissionStream, Webhook, WebhookDelivery, Worker
from mails.queues import QueueName
from mails.reporting import rollups
from mails.tests.builders import a_mail, dispatch
from mails.tests.callers import HELLO, MAILS, caller
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scrape(settings):
    settings.METRICS_TOKEN = "t0ken"

    def scraped():
        answer = Client().get("/metrics", headers={"Authorization": "Bearer t0ken"})
        assert answer.status_code == 200
        return {family.name: family for family in text_string_to_metric_families(answer.content.decode())}

    return scraped


def samples(family, name=None):
    """Values by the values of the labels, in the order of the labels' names."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for sample in family.samples
        if name is None or sample.name == name
    }


def test_what_was_sent_is_counted_by_outcome_and_queue(scrape, olympus, hades):
    olympus.refuse(503)
    for number in range(12):
        a_mail(subject=f"mail {number}")
    dispatch()

    found = scrape()

    mails = samples(found["mercury_mails"], "mercury_mails_total")
    assert mails["done", "text"] + mails["failover", "text"] == 12
    assert mails["failover", "text"] > 0
    assert mails["discarded", "bulk"] == 0
    calls = samples(found["mercury_calls"])
    assert calls["provider", "refused", "olympus"] == mails["failover", "text"]
    assert calls["", "accepted", "hades"] == 12


def test_mails_refused_for_a_rate_are_counted_by_application_and_begin_at_zero(scrape):
    zeus, hera, _iris = caller("zeus", rate="1/m"), caller("hera", rate="1/m"), caller("iris")
    for _ in range(3):
        zeus.post(MAILS, HELLO)
    rate_limits.write_refused()
    zeus.key.rate = ""
    zeus.key.save()

    assert samples(scrape()["mercury_mails_throttled"]) == {("zeus",): 2, ("hera",): 0}
    assert hera.post(MAILS, HELLO).status_code == 202


def test_a_histogram_is_cumulative_and_ends_with_all(scrape, olympus):
    for number in range(5):
        a_mail(subject=f"mail {number}")
    dispatch()

    family = scrape()["mercury_send_duration_seconds"]

    counts = [sample.value for sample in family.samples if sample.name.endswith("_bucket")]
    bounds = [float(sample.labels["le"]) for sample in family.samples if sample.name.endswith("_bucket")]
    assert counts == sorted(counts)
    assert bounds == sorted(bounds)
    assert bounds[0] == 0.001
    assert samples(family, "mercury_send_duration_seconds_count") == {("olympus",): 5.0}
    assert counts[-1] == 5.0


def test_counters_never_fall_by_folding_or_removal(scrape, olympus):
    a_mail()
    dispatch()
    before = scrape()

    rollups.fold(database_clock.now())
    rollups.fold(database_clock.now() + dt.timedelta(days=5000))

    after = scrape()
    for name in ("mercury_mails", "mercury_calls", "mercury_send_duration_seconds", "mercury_queue_duration_seconds"):
        assert [sample.value for sample in after[name].samples] == [sample.value for sample in before[name].samples]


def test_what_waits_and_who_works_are_gauges(scrape, olympus):
    a_mail()
    now = database_clock.now()
    Worker.objects.create(id="one", started_at=now, seen_at=now, concurrency=8, in_flight=3, polled_at=now)

    found = scrape()

    assert samples(found["mercury_queue_depth"])["text",] == 1
    assert samples(found["mercury_queue_age_seconds"])["text",] > 0
    assert samples(found["mercury_workers"]) == {(): 1}
    assert samples(found["mercury_calls_in_flight"]) == {(): 3}
    assert samples(found["mercury_breaker_state"])["olympus", "closed"] == 1
    assert samples(found["mercury_breaker_state"])["olympus", "open"] == 0


def test_a_paused_queue_is_a_gauge(scrape, olympus):
    pauses.pause(QueueName.BULK, by="hermes")

    found = samples(scrape()["mercury_queue_paused"])

    assert (found["bulk",], found["text",]) == (1, 0)


def test_alerts_are_metrics_too(scrape, olympus):
    assert samples(scrape()["mercury_alert"])["", "no_worker"] == 1


def test_event_streams_say_what_they_have_and_lack(scrape):
    a_mail()
    last = Event.objects.latest("pk").pk
    kafka = EventSink.objects.create(
        name="kafka", position=last - 2, published=7, created_at=database_clock.now(), last_error="no broker"
    )
    kafka.rejected.create(event_id=1, reason="too large", rejected_at=database_clock.now())

    found = scrape()

    assert samples(found["mercury_stream_published_events"]) == {("kafka",): 7}
    assert samples(found["mercury_stream_backlog_events"]) == {("kafka",): 2}
    assert samples(found["mercury_stream_refused_events"]) == {("kafka",): 1}
    assert samples(found["mercury_stream_failing"]) == {("kafka",): 1}
    assert samples(found["mercury_stream_paused"]) == {("kafka",): 0}
    assert 0 <= samples(found["mercury_stream_oldest_seconds"])["kafka",] < 60


def test_streams_of_submissions_and_webhooks_say_what_waits(scrape):
    now = database_clock.now()
    values = {"target": "topic mails", "key_prefix": "zeus", "created_at": now, "rate_since": now}
    SubmissionStream.objects.create(name="orders", accepted=5, rejected=1, lag=3, seen_at=now, **values)
    SubmissionStream.objects.create(name="old", **values)
    webhook = Webhook.objects.create(api_key=caller().key, url="https://a.example", position=0, created_at=now)
    WebhookDelivery.objects.create(webhook=webhook, event_id=1, created_at=now, next_attempt_at=now)

    found = scrape()

    assert samples(found["mercury_intake_accepted_mails"]) == {("orders",): 5, ("old",): 0}
    assert samples(found["mercury_intake_rejected_records"])["orders",] == 1
    assert samples(found["mercury_intake_waiting_records"]) == {("orders",): 3}
    assert samples(found["mercury_intake_failing"]) == {("orders",): 0, ("old",): 1}
    assert samples(found["mercury_webhooks"]) == {("active",): 1, ("failing",): 0, ("disabled",): 0}
    assert samples(found["mercury_webhook_waiting_deliveries"]) == {(): 1}


def test_names_and_units_follow_the_conventions(scrape, olympus):
    a_mail()
    dispatch()

    for name, family in scrape().items():
        assert name.startswith("mercury_")
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            if family.type == "counter" and not sample.name.endswith("_created"):
                assert sample.name.endswith("_total")
        assert not any(unit in name for unit in ("_ms", "_milliseconds", "_minutes"))


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic t0ken"}])
def test_a_stranger_sees_nothing(settings, header, olympus):
    settings.METRICS_TOKEN = "t0ken"

    answer = Client().get("/metrics", headers=header)

    assert answer.status_code == 403
    assert b"olympus" not in answer.content


def test_without_a_setting_nobody_may_read(settings):
    assert Client().get("/metrics", headers={"Authorization": "Bearer "}).status_code == 403


def test_a_network_may_be_let_in(settings):
    settings.METRICS_FROM = [ipaddress.ip_network("127.0.0.0/8")]

    assert Client().get("/metrics").status_code == 200
    assert Client(REMOTE_ADDR="192.0.2.1").get("/metrics").status_code == 403


def test_an_address_that_a_proxy_hides_is_not_believed(settings):
    settings.METRICS_FROM = [ipaddress.ip_network("127.0.0.0/8")]
    forwarded = {"X-Forwarded-For": "192.0.2.1"}

    assert Client().get("/metrics", headers=forwarded).status_code == 403
    settings.MERCURY_PROXIES = 1
    assert Client().get("/metrics", headers=forwarded).status_code == 403
    assert Client().get("/metrics", headers={"X-Forwarded-For": "127.0.0.1"}).status_code == 200


def test_metrics_are_only_for_reading():
    assert Client().post("/metrics").status_code == 405
