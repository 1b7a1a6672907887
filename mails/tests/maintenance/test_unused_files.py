"""Files are deleted when nothing uses them any more, and never before."""

import base64
import datetime as dt
import hashlib
import threading

import pytest
from django.core.files.base import ContentFile
from django.db import connection, transaction

from mails.files import contents, storage, uploads
from mails.files.uploads import Owner
from mails.maintenance import retention, scheduler, unused_files
from mails.maintenance.periodic_thread import Beat
from mails.models import FileContent, MailFile, StoredFile, UnusedFile
from mails.states import Status
from mails.tests.builders import a_mail, reloaded
from mails.tests.files.support import PDF, PNG, list_stored
from mails.tests.maintenance.test_retention import BODIES, MAILS, aged
from mercury.lib.database import database_clock
from mercury.lib.storages.errors import StorageUnavailable

pytestmark = pytest.mark.django_db(transaction=True)
DAY = dt.timedelta(days=1)
HASH = hashlib.sha256(PNG).hexdigest()


def a_mail_with_file(content=PNG, **fields):
    file = {"filename": "crown.png", "content": base64.b64encode(content).decode()}
    return a_mail(attachments=[file], **fields)


def pass_days(days=2):
    """Let all contents be used so long ago."""
    FileContent.objects.update(used_at=database_clock.now() - days * DAY)
    UnusedFile.objects.update(delete_at=database_clock.now())


def test_the_content_goes_with_the_body_and_the_rest_with_the_email():
    mail = aged(reloaded(a_mail_with_file()), 40, status=Status.DONE)
    kept = a_mail_with_file(PDF)
    list(retention.run(BODIES, MAILS))
    pass_days()

    assert unused_files.remove(seconds=5) == 1

    file = MailFile.objects.get(mail=mail)
    assert (file.filename, file.size, file.content) == ("crown.png", len(PNG), None)
    assert [path.read_bytes() for path in list_stored()] == [PDF]
    list(retention.run(DAY, 35 * DAY))
    assert MailFile.objects.get().mail == kept


def test_a_content_that_another_email_has_stays():
    aged(reloaded(a_mail_with_file()), 40, status=Status.DONE)
    a_mail_with_file()
    list(retention.run(BODIES, MAILS))
    pass_days()

    assert unused_files.remove(seconds=5) == 0
    assert len(list_stored()) == 1


def test_an_expired_upload_is_deleted_a_day_later_and_its_emails_keep_the_content():
    upload = uploads.receive(ContentFile(PNG).read, filename="a", declared="", size=len(PNG), owner=Owner())
    mail = a_mail(attachments=[{"file": str(upload.pk)}])
    StoredFile.objects.update(expires_at=database_clock.now())

    unused_files.remove(seconds=5)
    assert StoredFile.objects.exists()
    StoredFile.objects.update(expires_at=database_clock.now() - DAY)
    pass_days()
    unused_files.remove(seconds=5)

    assert not StoredFile.objects.exists()
    assert storage.read(mail.files.get().content.location) == PNG


def test_a_storage_that_does_not_answer_stops_no_other_task(monkeypatch):
    contents.write(ContentFile(PNG))
    pass_days()
    monkeypatch.setattr(storage, "delete", lambda location: (_ for _ in ()).throw(StorageUnavailable("x")))
    done = []

    scheduler.run_tasks(
        {"a": lambda beat: unused_files.remove(seconds=5), "b": lambda beat: done.append(1)}, Beat(worker="w", at=0.0)
    )

    assert done == [1]


@pytest.mark.full
@pytest.mark.parametrize("used_first", [True, False])
def test_a_content_that_is_used_while_it_is_deleted_is_stored_again_or_stays(used_first):
    """The deletion and the email that uses the content meet at the row; whoever is second sees what the first did."""
    contents.store({HASH: (PNG, len(PNG))})
    pass_days()
    second = threading.Thread(target=use if not used_first else delete)

    with transaction.atomic():
        (use if used_first else delete)(close=False)
        second.start()
        second.join(0.3)
    second.join(10)

    contents.delete_unused(10)
    assert storage.read(FileContent.objects.get().location) == PNG
    assert len(list_stored()) == 1


def use(*, close=True):
    contents.store({HASH: (PNG, len(PNG))})
    if close:
        connection.close()


def delete(*, close=True):
    contents.delete_unreferenced(10)
    if close:
        connection.close()
