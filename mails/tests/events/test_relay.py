"""A relay publishes every committed event, in order, at least once."""

import datetime as dt
import json
from collections.abc import Mapping, Sequence

import pytest

from mails.events import relay as relays
from mails.events.cloud_events import Record
from mails.events.relay import Relay
from mails.events.sinks.base import SinkUnavailable
from mails.events.sinks.config import SinkConfig
from mails.models import Event, EventSink, RejectedRecord
from mails.reporting.sink_status import list_sinks
from mails.tests.builders import HERA, a_mail
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


class ListSink:
    """Keeps what it is given; fails or refuses as it is told."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.error = ""
        self.refuses: Mapping[int, str] = {}
        self.closed = 0

    def publish(self, records: Sequence[Record]) -> Mapping[int, str]:
        if self.error:
            raise SinkUnavailable(self.error)
        self.records += [record for record in records if record.event_id not in self.refuses]
        return {number: why for number, why in self.refuses.items() if number in {r.event_id for r in records}}

    def close(self) -> None:
        self.closed += 1

    @property
    def ids(self) -> list[int]:
        return [record.event_id for record in self.records]


def a_relay(sink: ListSink, *, process: str = "a", addresses: bool = False) -> Relay:
    """A relay of the sink `list`, whose row exists; the first one has its lease."""
    config = SinkConfig(name="list", kind="list", target="list", address={}, addresses=addresses, open=lambda: sink)
    relay = Relay(config, process=process)
    relay.run_pass()
    relay.run_pass()
    return relay


def all_ids(after: int = 0) -> list[int]:
    return list(Event.objects.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True))


def test_a_new_sink_begins_with_the_events_from_now_on():
    a_mail()
    before, sink = max(all_ids()), ListSink()
    relay = a_relay(sink)
    a_mail()

    published = relay.run_pass()

    assert sink.ids == all_ids(before) != []
    assert published.events == len(sink.ids)


def test_events_are_published_once_where_nothing_fails():
    a_mail()
    sink = ListSink()
    relay = a_relay(sink)
    a_mail()
    relay.run_pass()
    a_mail()
    relay.run_pass()
    relay.run_pass()

    assert len(sink.ids) == len(set(sink.ids)) == EventSink.objects.get().published


def test_what_a_sink_did_not_confirm_is_published_again():
    a_mail()
    sink = ListSink()
    relay = a_relay(sink)
    a_mail()
    sink.error = "no broker answers"

    failed = relay.run_pass()
    row = EventSink.objects.get()
    sink.error = ""
    relay.run_pass()

    assert failed.is_failing
    assert (row.last_error, row.published) == ("no broker answers", 0)
    assert row.failing_since is not None
    assert len(sink.ids) == 3
    assert EventSink.objects.get().last_error == ""


def test_a_record_that_is_refused_for_good_is_kept_with_its_reason_and_stops_no_other():
    a_mail()
    sink = ListSink()
    relay = a_relay(sink)
    a_mail()
    new, accepted, enqueue = all_ids()[-3:]
    sink.refuses = {accepted: "too large"}

    relay.run_pass()

    assert sink.ids == [new, enqueue]
    assert list(RejectedRecord.objects.values_list("event_id", "reason")) == [(accepted, "too large")]


def test_only_the_process_with_the_lease_publishes():
    a_mail()
    first, second = ListSink(), ListSink()
    leader, other = a_relay(first, process="a"), a_relay(second, process="b")
    a_mail()

    assert other.run_pass().events == 0
    assert leader.run_pass().events == 3


def test_another_process_goes_on_where_one_stopped():
    a_mail()
    first, second = ListSink(), ListSink()
    leader, other = a_relay(first, process="a"), a_relay(second, process="b")
    a_mail()
    leader.run_pass()
    leader.stop()
    a_mail()
    other.run_pass()

    assert first.closed == 1
    assert len(first.ids) == len(second.ids) == 3
    assert max(first.ids) < min(second.ids)


def test_a_process_that_loses_its_lease_while_it_publishes_moves_nothing(monkeypatch):
    a_mail()
    sink = ListSink()
    relay = a_relay(sink)
    a_mail()
    before = EventSink.objects.get().position
    publish = sink.publish
    monkeypatch.setattr(sink, "publish", lambda records: [EventSink.objects.update(leader="b"), publish(records)][1])

    relay.run_pass()

    assert EventSink.objects.get().position == before


def test_a_paused_sink_gets_nothing_and_later_everything():
    a_mail()
    sink = ListSink()
    relay = a_relay(sink)
    EventSink.objects.update(paused_at="2026-01-01T00:00Z", paused_by="hermes", leased_until=None)
    a_mail()
    relay.run_pass()
    paused = list(sink.ids)
    EventSink.objects.update(paused_at=None, leased_until=None)
    relay.run_pass()

    assert paused == []
    assert len(sink.ids) == 3


def test_a_large_backlog_is_published_in_groups(monkeypatch):
    monkeypatch.setattr(relays, "GROUP", 2)
    a_mail()
    sink = ListSink()
    relay = a_relay(sink)
    a_mail()

    first, second = relay.run_pass(), relay.run_pass()

    assert (first.events, first.is_behind) == (2, True)
    assert (second.events, second.is_behind) == (1, False)


def test_an_event_is_a_cloud_event_without_addresses():
    a_mail()
    sink = ListSink()
    relay = a_relay(sink)
    mail = a_mail()
    Event.objects.create(mail=mail, created_at=1, created_by="key:x", event="seen", blob=f'{{"who": "{HERA}"}}')
    relay.run_pass()

    document = json.loads(sink.records[-1].encode())

    assert document["specversion"] == "1.0"
    assert document["type"] == "mercury.mail.client_event"
    assert document["subject"] == document["data"]["mail_id"] == str(mail.pk)
    assert document["id"] == str(document["data"]["event_id"])
    assert document["data"]["details"] == {"who": "***@olimpus.com"}
    assert HERA not in b"".join(record.encode() for record in sink.records).decode()


def test_a_sink_with_addresses_has_them():
    a_mail()
    sink = ListSink()
    relay = a_relay(sink, addresses=True)
    a_mail()
    relay.run_pass()

    data = json.loads(sink.records[0].data)

    assert (data["sender"], data["recipients"]) == ("zeus@olimpus.com", [HERA])


def test_the_rate_is_measured_once_a_minute():
    a_mail()
    relay = a_relay(ListSink())
    a_mail()
    relay.run_pass()
    began = EventSink.objects.get()
    EventSink.objects.update(rate_since=began.rate_since - dt.timedelta(seconds=100))
    a_mail()
    relay.run_pass()
    measured = EventSink.objects.get()
    a_mail()
    relay.run_pass()

    assert began.rate == 0
    assert measured.rate == pytest.approx(6 / 100, rel=0.1)
    assert measured.rate_published == 6
    assert EventSink.objects.get().rate == measured.rate
    now = database_clock.now()
    assert list_sinks(now)[0].rate == measured.rate
    assert list_sinks(now + dt.timedelta(hours=1))[0].rate == pytest.approx(3 / 3600, rel=0.1)


def test_a_sink_that_fails_is_not_one_without_a_relay_between_two_tries():
    now = database_clock.now()
    ended = now - dt.timedelta(seconds=20)
    EventSink.objects.create(name="list", position=0, created_at=now, leased_until=ended, last_error="no broker")

    assert list_sinks(now)[0].state == "failing"
    assert list_sinks(now + dt.timedelta(minutes=1))[0].state == "stopped"
    EventSink.objects.update(last_error="")
    assert list_sinks(now)[0].state == "stopped"
