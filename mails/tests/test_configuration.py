"""Configuration that every thread reads without a query."""

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from mails import configuration
from mails.configuration import FRESH, Configuration, mark_changed
from mails.models import Pause
from mercury.lib.database import database_clock
from mercury.lib.runtime import process_state

pytestmark = pytest.mark.django_db


class Oracles(Configuration[tuple[str, ...]]):
    """Stands for any kind of configuration; its table is that of pauses."""

    name = "oracles"
    empty = ()

    def load(self):
        return tuple(Pause.objects.values_list("note", flat=True))


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(configuration, "time", clock)
    return clock


def read():
    return process_state.get(Oracles).read()


def count_queries():
    with CaptureQueriesContext(
        connection,
    ) as queries:
        read()
    return len(queries)


def add(note):
    with transaction.atomic():
        Pause.objects.create(queue="", note=note, paused_at=database_clock.now(), resumed_at=database_clock.now())
        mark_changed(Oracles)


def change_elsewhere(note):
    """Change it as another process does: this one does not hear of it."""
    here = configuration.forget
    configuration.forget = lambda: None
    try:
        add(note)
    finally:
        configuration.forget = here


def test_what_was_never_configured_costs_one_query_every_two_seconds(clock):
    assert read() == ()
    assert count_queries() == 0
    clock.now = FRESH + 0.1
    assert count_queries() == 1


def test_a_change_takes_effect_at_once_in_its_process(clock):
    assert read() == ()
    add("delphi")

    assert read() == ("delphi",)
    assert count_queries() == 0


def test_a_change_elsewhere_takes_effect_within_two_seconds(clock):
    read()
    change_elsewhere("dodona")

    assert read() == ()
    clock.now = FRESH + 0.1
    assert read() == ("dodona",)


def test_a_table_is_read_again_only_when_it_changed(clock):
    add("delphi")
    read()
    clock.now = FRESH + 0.1

    assert count_queries() == 1


def test_what_was_rolled_back_is_forgotten(clock):
    with transaction.atomic():
        add("delphi")
        assert read() == ("delphi",)
        transaction.set_rollback(True)
    clock.now = FRESH + 0.1

    assert read() == ()
    add("dodona")
    assert read() == ("dodona",)
