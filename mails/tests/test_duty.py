"""A duty is done by one process, and by another when that one dies."""

import datetime as dt

import pytest

from mails.dispatch import duty
from mails.models import Duty
from mercury.lib import database_clock

pytestmark = pytest.mark.django_db


def test_only_the_holder_has_the_duty_until_its_lease_is_over():
    duty.is_mine("sweep", "one")  # makes the row

    assert duty.is_mine("sweep", "one")
    assert not duty.is_mine("sweep", "two")
    Duty.objects.update(expires_at=database_clock.now() - dt.timedelta(seconds=1))
    assert duty.is_mine("sweep", "two")
    assert not duty.is_mine("sweep", "one")


def test_duties_are_held_one_by_one():
    for name in ("sweep", "rollups"):
        duty.is_mine(name, "one")
    duty.is_mine("sweep", "one")

    assert duty.is_mine("rollups", "two")
    assert not duty.is_mine("sweep", "two")
