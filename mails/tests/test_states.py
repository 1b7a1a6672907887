"""The words hang together."""

import pytest

from mails.states import DUE, FINAL, LEASED, TRANSITIONS, Status


def test_every_state_says_what_may_follow():
    assert set(TRANSITIONS) == set(Status)


def test_every_state_is_due_leased_final_or_held():
    assert set(Status) == {*DUE, *LEASED, *FINAL, Status.HELD}


@pytest.mark.parametrize("status", [Status.DONE, Status.CANCELLED, Status.REJECTED])
def test_nothing_follows_the_end(status):
    assert not TRANSITIONS[status]


def test_only_what_is_due_or_was_refused_elsewhere_is_sent():
    assert {before for before, after in TRANSITIONS.items() if Status.SENDING in after} == {*DUE, Status.SENDING}
