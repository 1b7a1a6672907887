"""The last attempts of one account are found among the last of all accounts."""

import datetime as dt
import uuid

import pytest

from mails.models import Attempt, Mail, first_id
from mails.reporting import recent_attempts
from mails.states import AttemptState
from mails.tests.builders import a_mail

pytestmark = pytest.mark.django_db
NOON = dt.datetime(2026, 11, 24, 12, 0, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


@pytest.fixture
def called():
    mail = a_mail()

    def call(account: str, state: str = AttemptState.ACCEPTED, *, after: int = 0) -> Attempt:
        at = NOON + after * SECOND
        return Attempt.objects.create(
            id=uuid.UUID(int=first_id(at).int + after),
            mail=mail,
            number=Attempt.objects.count() + 1,
            account=account,
            lease=uuid.uuid4(),
            state=state,
            opened_at=at,
        )

    return call


def test_attempts_of_the_account_with_an_outcome_are_listed_oldest_first(called):
    first = called("olympus", after=1)
    called("hades", after=2)
    second = called("olympus", AttemptState.REFUSED, after=3)
    called("olympus", AttemptState.OPEN, after=4)

    found = recent_attempts.load_last_attempts("olympus")

    assert (found.calls, found.stopped) == ([first, second], False)


def test_only_the_newest_are_shown(called, monkeypatch):
    monkeypatch.setattr(recent_attempts, "SHOWN", 2)
    made = [called("olympus", after=number) for number in range(4)]

    found = recent_attempts.load_last_attempts("olympus")

    assert (found.calls, found.stopped) == (made[2:], False)


def test_the_search_for_them_is_bounded_and_says_so(called, monkeypatch):
    monkeypatch.setattr(recent_attempts, "REACH", 3)
    old = called("olympus", after=0)
    for number in range(1, 4):
        called("hades", after=number)

    stopped = recent_attempts.load_last_attempts("olympus")
    reached = recent_attempts.load_last_attempts("olympus", before=NOON + 3 * SECOND)

    assert (stopped.calls, stopped.stopped) == ([], True)
    assert (reached.calls, reached.stopped) == ([old], False)


def test_requests_in_progress_are_those_of_leased_emails(called):
    Mail.objects.update(status="sending", lease=uuid.uuid4(), provider="olympus")

    assert (recent_attempts.count_in_progress("olympus"), recent_attempts.count_in_progress("hades")) == (1, 0)
