"""The suppression list in the admin: add, remove, import with a preview, export."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from mails.models import StoredFile, Suppression
from mails.suppression import entries
from mails.suppression.rules import NewEntry
from mails.tests.builders import HERA, IRIS
from mails.tests.people import browser_of, zeus
from mercury.lib.audit.models import AuditEntry

pytestmark = pytest.mark.django_db
LIST = "/admin/mails/suppression/"
NEW = {"address": "Hera@olimpus.com", "scope": "olimpus.com", "reason": "complaint", "detail": "spam", "expires_at": ""}


def file(text: str) -> dict[str, Any]:
    return {"file": SimpleUploadedFile("list.csv", text.encode(), "text/csv")}


def test_an_address_is_added_and_shown_with_who(operator: Client) -> None:
    assert operator.post(f"{LIST}add/", NEW).status_code == 302
    entry = Suppression.objects.get()
    assert (entry.address, entry.scope, entry.source) == (HERA, "olimpus.com", "user:hermes")
    assert operator.post(f"{LIST}add/", NEW | {"reason": "manual"}).status_code == 302  # replaces it
    assert Suppression.objects.get().reason == "manual"
    page = operator.get(LIST, {"q": "HERA"}).content.decode()
    assert HERA in page
    assert "hermes" in page


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"address": "*"}, "everybody"),
        ({"address": "@olimpus.com"}, "whole domain"),
        ({"scope": "a@b.com"}, "domain of the senders"),
        ({"expires_at": "2001-01-01T00:00"}, "in the past"),
    ],
)
def test_what_is_wrong_is_said_at_its_field(operator: Client, change: dict[str, str], words: str) -> None:
    answer = operator.post(f"{LIST}add/", NEW | change)
    assert answer.status_code == 200
    assert words in answer.content.decode()
    assert not Suppression.objects.exists()


def test_an_entry_is_removed_after_confirmation(operator: Client) -> None:
    entries.put([NewEntry(HERA), NewEntry(IRIS)], source="command line")
    first, second = Suppression.objects.all()
    assert HERA in operator.get(f"{LIST}{second.pk}/delete/").content.decode()
    operator.post(f"{LIST}{second.pk}/delete/", {"post": "yes"})
    assert [entry.address for entry in Suppression.objects.all()] == [IRIS]
    chosen = {"_selected_action": [first.pk]}
    page = operator.post(LIST, chosen | {"action": "remove_selected"}).content.decode()
    assert IRIS in page
    operator.post(LIST, chosen | {"action": "delete_selected", "post": "yes"})
    assert not Suppression.objects.exists()
    assert list(AuditEntry.objects.values_list("by", "act", "name")) == [
        ("user:hermes", "delete", IRIS),
        ("user:hermes", "delete", HERA),
    ]


def test_a_file_is_imported_after_a_preview(operator: Client) -> None:
    page = operator.post(f"{LIST}import/", file(f"address\n{HERA}\n{IRIS}\n{IRIS}\n"))
    assert page.context["report"].added == 2
    assert not Suppression.objects.exists()
    answer = operator.post(f"{LIST}import/", {"upload": str(page.context["upload"].pk)})
    assert answer.status_code == 302
    assert Suppression.objects.count() == 2
    assert not StoredFile.objects.exists()
    assert operator.post(f"{LIST}import/", {"upload": str(page.context["upload"].pk)}).status_code == 400
    assert operator.post(f"{LIST}import/", {"upload": "x"}).status_code == 400


def test_a_file_with_errors_is_refused_with_its_lines(operator: Client) -> None:
    answer = operator.post(f"{LIST}import/", file(f"address\n{HERA}\n*\n"))
    assert answer.status_code == 400
    assert "line 3, address" in answer.content.decode()
    assert not StoredFile.objects.exists()
    assert operator.post(f"{LIST}import/", {}).status_code == 400


def test_the_list_is_exported_as_it_is_shown(operator: Client) -> None:
    entries.put([NewEntry(HERA, reason="complaint"), NewEntry(IRIS)], source="command line")
    lines = operator.get(f"{LIST}export/", {"q": "hera", "reason__exact": "complaint"}).getvalue().decode().splitlines()
    assert [line.split(",")[0] for line in lines] == ["address", HERA]


def test_people_without_the_permission_get_a_403() -> None:
    browser = browser_of(zeus())
    for page in ("", "add/", "import/", "export/"):
        assert browser.get(f"{LIST}{page}").status_code in (302, 403), page
