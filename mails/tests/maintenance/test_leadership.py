"""A periodic task runs in one process, and in another when that one dies."""

import datetime as dt

import pytest

from mails.maintenance import leadership
from mails.models import PeriodicTask
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db


def test_only_the_leader_runs_the_task_until_its_lease_is_over():
    leadership.acquire("sweep", "one")  # makes the row

    assert leadership.acquire("sweep", "one")
    assert not leadership.acquire("sweep", "two")
    PeriodicTask.objects.update(expires_at=database_clock.now() - dt.timedelta(seconds=1))
    assert leadership.acquire("sweep", "two")
    assert not leadership.acquire("sweep", "one")


def test_each_task_has_a_leader_of_its_own():
    for name in ("sweep", "rollups"):
        leadership.acquire(name, "one")
    leadership.acquire("sweep", "one")

    assert leadership.acquire("rollups", "two")
    assert not leadership.acquire("sweep", "two")
