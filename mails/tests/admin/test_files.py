"""Uploaded files in the admin, and on the command line."""

import uuid

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from mails.files import contents
from mails.models import FileContent, StoredFile, UnusedFile
from mails.tests.commandline import run
from mails.tests.files.builders import CROWN, a_link, an_upload
from mails.tests.files.support import list_stored
from mails.tests.people import browser_of
from mercury.lib.audit.models import AuditEntry
from mercury.lib.commands import ExitCode

pytestmark = pytest.mark.django_db
LIST = "/admin/mails/storedfile/"


def test_the_list_shows_each_file_and_whether_emails_use_it(operator: Client) -> None:
    an_upload(filename="crown<b>.png")
    a_link(CROWN)
    an_upload(b"a harp", filename="harp.txt")

    page = operator.get(LIST).content.decode()

    assert "crown_b_.png" in page
    assert "command line" in page
    assert page.count(">Remove</a>") == 1
    for choice, count in (("yes", 1), ("no", 1), ("incomplete", 0)):
        assert operator.get(f"{LIST}?used={choice}").context["cl"].result_count == count
    assert operator.get(f"{LIST}?q=harp").context["cl"].result_count == 1


def test_a_file_shows_the_emails_that_use_it(operator: Client) -> None:
    file, link = an_upload(), a_link(CROWN)

    page = operator.get(f"{LIST}{file.pk}/change/").content.decode()

    assert f"/admin/mails/mail/{link.mail_id}/change/" in page
    assert file.content_id
    assert file.content_id in page


def test_a_file_is_removed_after_a_question(operator: Client) -> None:
    file = an_upload()
    page = f"{LIST}{file.pk}/remove/"

    assert "crown.png" in operator.get(page).content.decode()
    assert StoredFile.objects.exists()
    assert "was removed" in operator.post(page, follow=True).content.decode()

    assert not StoredFile.objects.exists()
    assert AuditEntry.objects.get().kind == "uploaded file"
    assert operator.post(page).status_code == 404


def test_a_file_that_emails_use_is_not_removed(operator: Client) -> None:
    file = an_upload()
    a_link(CROWN)

    for answer in (
        operator.get(f"{LIST}{file.pk}/remove/", follow=True),
        operator.post(f"{LIST}{file.pk}/remove/", follow=True),
    ):
        assert "is used by emails" in answer.content.decode()

    assert StoredFile.objects.exists()
    assert not AuditEntry.objects.exists()


def test_who_may_only_look_does_not_remove() -> None:
    reader = User.objects.create_user("iris", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_mail"))
    file = an_upload()

    assert browser_of(reader).get(LIST).status_code == 200
    assert browser_of(reader).post(f"{LIST}{file.pk}/remove/").status_code == 403
    assert StoredFile.objects.exists()


def test_the_command_lists_shows_and_removes() -> None:
    crown, harp = an_upload(), an_upload(b"a harp", filename="harp.txt")
    link = a_link(CROWN)

    assert [row["filename"] for row in run("files", "list", "--json").lines] == ["harp.txt", "crown.png"]
    assert [row["filename"] for row in run("files", "list", "--unused", "--json").lines] == ["harp.txt"]
    shown = run("files", "show", str(crown.pk), "--json").document
    assert (shown["used"], shown["emails"]) == (True, [str(link.mail_id)])
    assert "Would remove harp.txt" in run("files", "remove", str(harp.pk), "--dry-run").out
    refused = run("files", "remove", str(harp.pk), str(crown.pk), "--yes")
    assert (refused.code, "is used by emails" in refused.error) == (ExitCode.FAILED, True)
    assert run("files", "remove", str(harp.pk), "--yes", "--json").document == {"removed": 1}
    assert run("files", "show", str(uuid.uuid4())).code == ExitCode.FAILED

    assert StoredFile.objects.get() == crown


def test_the_content_of_a_removed_file_goes_a_day_later(operator: Client) -> None:
    file = an_upload()
    operator.post(f"{LIST}{file.pk}/remove/")
    FileContent.objects.update(used_at="2020-01-01T00:00:00Z")

    contents.delete_unreferenced(10)
    contents.delete_unused(10)

    assert not list_stored()
    assert not UnusedFile.objects.exists()
