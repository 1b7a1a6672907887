"""The resident drain does the house's duties, and looks for mails again where those left some due."""

import pytest

from mails.dispatch import poll, sweep


@pytest.mark.parametrize(("changed", "woken"), [(True, 1), (False, 0)])
def test_a_sweep_that_took_something_up_wakes_the_drain(monkeypatch, changed, woken):
    calls = []
    monkeypatch.setattr(sweep, "on_duty", lambda worker: changed)
    monkeypatch.setattr(poll, "wake", lambda: calls.append("woken"))

    poll._duties("worker")

    assert len(calls) == woken


def test_a_sweep_that_fails_does_not_end_the_drain_that_called_it(monkeypatch):
    def fails(worker):
        raise RuntimeError("no such table")

    monkeypatch.setattr(sweep, "on_duty", fails)

    poll._duties("worker")
