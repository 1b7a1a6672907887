import datetime as dt
import uuid

import pytest

from mails.models import Mail
from mails.states import Status
from mails.tests.builders import a_mail, reloaded
from mails.tests.commandline import run
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def lost_mail():
    mail = a_mail()
    lease = {
        "lease": uuid.uuid4(),
        "lease_expires_at": database_clock.now() - dt.timedelta(seconds=1),
        "worker": "gone",
    }
    Mail.objects.filter(pk=mail.pk).update(status=Status.SENDING, **lease)
    return mail


def test_nothing_left_behind_is_said():
    assert run("sweep").out.strip() == "Nothing to recover."


def test_a_lost_mail_is_recovered(lost_mail):
    assert run("sweep", "--json").document == {"mails": 1, "what": "queued again: not sent"}
    assert reloaded(lost_mail).status == Status.QUEUED


def test_a_dry_run_changes_nothing(lost_mail):
    assert "queued again" in run("sweep", "--dry-run").out
    assert reloaded(lost_mail).status == Status.SENDING
