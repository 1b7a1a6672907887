"""Download links in the admin, and on the command line."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from mails.actions import downloads
from mails.models import DownloadLink
from mails.tests.commandline import run
from mails.tests.files.builders import a_link
from mails.tests.people import browser_of
from mercury.lib.audit.models import AuditEntry
from mercury.lib.commands import ExitCode

pytestmark = pytest.mark.django_db
LIST = "/admin/mails/downloadlink/"


def test_the_list_shows_each_link_with_its_state(operator: Client) -> None:
    a_link(filename="<b>crown</b>.png")
    downloads.revoke_link(a_link(number=2, filename="harp.png"), by="user:hermes")
    page = operator.get(LIST).content.decode()
    assert "&lt;b&gt;crown&lt;/b&gt;.png" in page
    assert "Valid" in page
    assert "Revoked" in page
    assert page.count(">Revoke</a>") == 1
    assert operator.get(f"{LIST}?q=crown").status_code == 200


def test_a_link_is_revoked_after_a_question(operator: Client) -> None:
    link = a_link()
    page = f"{LIST}{link.pk}/revoke/"
    assert "crown.png" in operator.get(page).content.decode()
    assert DownloadLink.objects.get().revoked_at is None
    for words in ("was revoked", "had already ended"):
        assert words in operator.post(page, follow=True).content.decode()
    assert DownloadLink.objects.get().revoked_by == "user:hermes"
    assert AuditEntry.objects.get().who == "hermes"


def test_who_may_only_look_does_not_revoke() -> None:
    reader = User.objects.create_user("iris", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_mail"))
    link = a_link()
    assert browser_of(reader).get(LIST).status_code == 200
    assert browser_of(reader).post(f"{LIST}{link.pk}/revoke/").status_code == 403
    assert DownloadLink.objects.get().revoked_at is None


def test_the_command_lists_and_revokes() -> None:
    crown, harp = a_link(), a_link(number=2, filename="harp.png")
    listed = run("links", "list", "--json").lines
    assert {(row["filename"], row["state"]) for row in listed} == {("crown.png", "valid"), ("harp.png", "valid")}
    assert len(run("links", "list", "--mail", str(crown.mail_id), "--json").lines) == 1
    assert "Would revoke" in run("links", "revoke", str(crown.pk), "--dry-run").out
    assert run("links", "revoke", str(crown.pk), str(harp.pk), "--yes", "--json").document == {"revoked": 2}
    assert run("links", "revoke", str(crown.pk), "--yes", "--json").document == {"revoked": 0}
    assert run("links", "revoke", str(crown.mail_id), "--yes").code == ExitCode.FAILED
