import email

import pytest

from mails.message import mime
from mails.tests.builders import HERA, ZEUS, a_mail, dispatch, event_names
from mails.tests.callers import HELLO, MAILS, caller
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_mail_is_shown_with_its_summary_its_timeline_and_the_reasons(olympus, hades):
    olympus.refuse(503)
    hades.refuse(503)
    mail = a_mail()
    dispatch()

    ran = run("mail", str(mail.pk))

    assert ran.code == 0
    assert ran.out.startswith("Waiting to retry, next attempt at ")
    assert "READY TO SEND  Selected olympus" in ran.out
    assert "skipped" in ran.out


def test_without_a_base_url_the_page_is_named_by_its_path(settings):
    settings.MERCURY_BASE_URL = ""
    mail = a_mail()

    assert f"Page     /mails/{mail.pk}\n" in run("mail", str(mail.pk)).out
    assert run("mail", str(mail.pk), "--json").document["url"] == f"/mails/{mail.pk}"


def test_json_is_one_document_with_the_events(olympus):
    mail = a_mail()
    dispatch()

    document = run("mail", str(mail.pk), "--json").document

    assert (document["id"], document["status"], document["provider"]) == (str(mail.pk), "done", "olympus")
    assert [event["event"] for event in document["events"]] == event_names(mail)


def test_events_are_shown_as_recorded():
    mail = a_mail()

    lines = run("mail", str(mail.pk), "--events", "--json").lines

    assert [line["event"] for line in lines] == event_names(mail)
    assert set(lines[0]) == {"id", "mail_id", "created_at", "created_by", "event", "blob"}


def test_raw_is_the_source_a_provider_is_handed():
    mail = a_mail()

    source = email.message_from_string(run("mail", str(mail.pk), "--raw").out)

    assert (source["From"], source["To"], source["X-Mercury-ID"]) == (ZEUS, HERA, str(mail.pk))
    assert str(mail.pk) in source["Message-ID"]


def test_raw_is_the_source_to_the_octet_and_nothing_in_it_drives_a_terminal():
    mail = a_mail(content="tab\tinside\tand at the end\t\n-- \nzeus \x1b[31mred\x0c\u2028")

    out = run("mail", str(mail.pk), "--raw").out

    assert out.encode() == mime.render_source(mail, mime.read_message(mail))
    assert email.message_from_string(out).get_payload(decode=True).decode().replace("\r\n", "\n") == (
        "tab\tinside\tand at the end\t\n-- \nzeus \x1b[31mred\x0c\u2028\n"
    )
    assert "\x1b" not in out


@pytest.mark.parametrize("text", ["01a20dda-9f16-728a-98f8-55bc7ac479de", "order-1"])
def test_an_unknown_id_fails_and_says_how_to_find_one(text):
    ran = run("mail", text)

    assert ran.code == 1
    assert "manage.py mails --search" in ran.error


def test_text_of_clients_cannot_drive_the_terminal():
    mail = a_mail()
    mail.events.create(
        event="\x1b[2J\x07note", created_by="key:1", created_at=mail.events.get(event="NEW").created_at, blob="{}"
    )

    assert "\x1b" not in run("mail", str(mail.pk)).out


def test_people_tags_and_files_are_shown(settings):
    settings.MERCURY_BASE_URL = "https://mail.olimpus.com"
    zeus = caller()
    linked = {"filename": "harp.txt", "content": "YSBoYXJw", "delivery": "link"}
    fields = {
        "cc": "Iris <iris@olimpus.com>",
        "bcc": "hades@olimpus.com",
        "reply_to": "juno@olimpus.com",
        "tags": ["law"],
    }
    attached = {"filename": "law.txt", "content": "bGF3"}
    mail = zeus.post(MAILS, {**HELLO, **fields, "attachments": [attached, linked]}).json()

    said, document = run("mail", mail["id"]).out, run("mail", mail["id"], "--json").document

    for line in (
        'Cc       "Iris" <iris@olimpus.com>',
        "Bcc      hades@olimpus.com",
        "Reply-To juno@olimpus.com",
        "Tags     law",
    ):
        assert f"  {line}\n" in said
    assert "File     law.txt, 3 B, attached" in said
    assert "File     harp.txt, 6 B, download link " in said
    assert document["cc"] == ['"Iris" <iris@olimpus.com>']
    assert [(file["filename"], bool(file["link"])) for file in document["files"]] == [
        ("law.txt", False),
        ("harp.txt", True),
    ]
