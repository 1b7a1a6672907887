"""Download links over the API: what became of them, and their end."""

from typing import Any

import pytest

from mails.files import link_tokens
from mails.intake.client import Client
from mails.models import Mail
from mails.states import Source
from mails.tests.builders import a_mail, event_names
from mails.tests.callers import HELLO, MAILS, Caller, caller, problem
from mails.tests.files.builders import a_link
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db
LINKS = "/api/v1.0/links/"


def link_of(client: Caller, **changes: Any) -> Any:
    mail = a_mail(Client(source=Source.API, api_key=client.key))
    return a_link(mail=mail, **changes)


def test_a_client_reads_its_links_and_no_others(settings: Any) -> None:
    settings.MERCURY_BASE_URL = "https://mail.olimpus.com"
    zeus, other = caller(), caller("other")
    link = link_of(zeus, max_downloads=3)
    shown = zeus.get(f"{LINKS}{link.pk}").json()
    assert shown == {
        "id": str(link.pk),
        "url": f"http://testserver{LINKS}{link.pk}",
        "mail": str(link.mail_id),
        "link": f"https://mail.olimpus.com/files/{link_tokens.make_token(link.pk)}",
        "filename": "crown.png",
        "content_type": "image/png",
        "size": 10240,
        "sha256": link.sha256,
        "state": "valid",
        "downloads": 0,
        "max_downloads": 3,
        "expires": f"{link.expires_at:%Y-%m-%dT%H:%M:%S.%f}Z",
        "revoked": None,
    }
    assert zeus.get(f"{LINKS}?expand=true").json()["links"] == [shown]
    assert zeus.get(f"{LINKS}?filter=mail,eq,{link.mail_id}").json()["links"] == [shown["url"]]
    assert other.get(LINKS).json()["links"] == []
    for path in (f"{LINKS}{link.pk}", f"{LINKS}nonsense"):
        problem(other.get(path), 404)


def test_a_link_is_revoked_once_and_again_is_no_error() -> None:
    zeus = caller()
    link = link_of(zeus)
    for _ in range(2):
        answer = zeus.post(f"{LINKS}{link.pk}/revoke")
        assert answer.status_code == 200
        assert answer.json()["state"] == "revoked"
        assert answer.json()["revoked"]
    assert event_names(link.mail).count("LINK REVOKED") == 1
    assert link.mail.events.last().created_by == "key:zeus"


def test_a_link_of_others_or_without_the_scope_is_not_revoked() -> None:
    zeus, other, reader = caller(), caller("other"), caller("reader", scopes=["mails:read"])
    problem(other.post(f"{LINKS}{link_of(zeus).pk}/revoke"), 404)
    problem(reader.post(f"{LINKS}{link_of(reader).pk}/revoke"), 403)


def test_a_revocation_has_no_fields() -> None:
    zeus = caller()
    link = link_of(zeus)
    problem(zeus.post(f"{LINKS}{link.pk}/revoke", {"when": "now"}), 400)
    link.refresh_from_db()
    assert link.revoked_at is None


def test_an_email_shows_its_files_and_their_links(settings: Any) -> None:
    settings.MERCURY_BASE_URL = "https://mail.olimpus.com"
    zeus = caller()
    upload = zeus.generic("POST", "/api/v1.0/files/?filename=harp.txt", "a harp", content_type="text/plain").json()
    attached = {"filename": "law.txt", "content": "bGF3"}
    linked = {"file": upload["id"], "delivery": "link"}
    mail = zeus.post(MAILS, {**HELLO, "attachments": [linked, attached]}).json()

    law, harp = zeus.get(mail["url"]).json()["files"]

    assert (law["number"], law["filename"], law["link"]) == (1, "law.txt", None)
    assert (harp["number"], harp["filename"], harp["url"]) == (2, "harp.txt", None)
    assert harp["link"] == zeus.get(f"{LINKS}?expand=true").json()["links"][0]
    assert harp["link"]["downloads"] == 0
    page = zeus.get(f"{MAILS}?expand=true").json()["mails"][0]
    assert page["files"] == [law, harp]


def test_the_links_of_an_email_are_shown_after_its_body_was_deleted(settings: Any) -> None:
    settings.MERCURY_BASE_URL = "https://mail.olimpus.com"
    zeus = caller()
    link = link_of(zeus)
    Mail.objects.update(text_removed_at=database_clock.now())

    (file,) = zeus.get(f"{MAILS}{link.mail_id}").json()["files"]

    assert file["link"]["id"] == str(link.pk)
