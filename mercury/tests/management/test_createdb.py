import pytest
from django.db import connection

from mails.models import Mail
from mails.tests.builders import a_mail
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db(transaction=True)


def test_tables_that_are_there_are_kept():
    a_mail()

    ran = run("createdb")

    assert "ready" in ran.out
    assert Mail.objects.count() == 1


def test_nothing_is_deleted_without_an_answer():
    a_mail()

    ran = run("createdb", "--force")

    assert ran.code == 2
    assert "1 email?" in ran.error
    assert Mail.objects.count() == 1


def test_a_dry_run_deletes_nothing():
    a_mail()

    assert "Would delete" in run("createdb", "--force", "--dry-run").out
    assert Mail.objects.count() == 1


def test_force_begins_from_scratch_and_the_guards_are_there_again():
    a_mail()

    ran = run("createdb", "--force", "--yes", "--json")

    assert ran.document["dropped"] > 5
    assert not Mail.objects.exists()
    mail = a_mail()
    with pytest.raises(Exception, match="append-only"), connection.cursor() as cursor:
        cursor.execute("UPDATE mails_event SET event = 'DONE' WHERE mail_id IS NOT NULL")
    assert mail.events.filter(event="NEW").exists()
