"""Files of emails over the API: as JSON, as forms, and back."""

import base64
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from mails.models import Mail, MailFile
from mails.tests.callers import HELLO, MAILS, caller, problem
from mails.tests.files.support import PDF, PNG, list_stored, upload
from mails.tests.people import browser_of
from mails.tests.people import zeus as zeus_himself

pytestmark = pytest.mark.django_db


@pytest.fixture
def zeus():
    return caller()


def a_file(content=PNG, name="crown.png", content_type="image/png"):
    return SimpleUploadedFile(name, content, content_type)


def attached(content=PNG, **more):
    return {"filename": "crown.png", "content": base64.b64encode(content).decode(), **more}


def post_form(client, **parts):
    return client.post(MAILS, parts, format="multipart")


def test_an_email_shows_its_files_and_gives_them_back(zeus):
    mail = zeus.post(
        MAILS, {**HELLO, "html": "<img src='cid:a'>", "attachments": [attached(PDF), attached(content_id="a")]}
    )

    first, second = zeus.get(mail.json()["url"]).json()["files"]
    assert (first["content_id"], first["size"], second["content_type"]) == ("a", len(PNG), "application/pdf")
    answer = zeus.get(second["url"])
    assert b"".join(answer.streaming_content) == PDF
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == 'attachment; filename="crown.png"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert zeus.get(f"{MAILS}?expand=true").json()["mails"][0]["files"] == [first, second]


def test_a_file_is_for_the_client_of_its_email(zeus):
    url = zeus.post(MAILS, {**HELLO, "attachments": [attached()]}).json()["url"] + "/files/1"

    problem(caller("hermes").get(url), 404)
    problem(caller("sender", scopes=["mails:send"]).get(url), 403)
    problem(zeus.get(url.replace("/files/1", "/files/2")), 404)
    MailFile.objects.update(content=None)
    problem(zeus.get(url), 410, "gone")


def test_an_upload_is_referred_to(zeus):
    file = upload(zeus).json()

    assert zeus.post(MAILS, {**HELLO, "attachments": [{"file": file["id"]}]}).status_code == 202
    answer = caller("hermes", senders=["*"]).post(MAILS, {**HELLO, "attachments": [{"file": file["id"]}]})
    (error,) = problem(answer, 400, "invalid_mail")["errors"]
    assert (error["pointer"], error["code"]) == ("/attachments/0/file", "unknown_file")


def test_attachments_of_several_megabytes_fit_into_json(zeus, settings):
    content = bytes(4_900_000)

    answer = zeus.post(MAILS, {**HELLO, "attachments": [attached(content), attached(content + b"x")]})

    assert answer.status_code == 202, answer.content
    assert {path.stat().st_size for path in list_stored()} == {4_900_000, 4_900_001}


def test_a_form_has_the_email_as_json_and_its_files(zeus):
    mail = json.dumps({**HELLO, "html": "<img src='cid:crown.png'>", "attachments": [attached(PDF)]})

    answer = post_form(
        zeus, mail=mail, attachments=[a_file(PDF, "law.pdf", "application/pdf"), a_file()], inline=a_file()
    )

    assert answer.status_code == 202, answer.content
    files = Mail.objects.get().files.all()
    assert [(file.filename, file.cid) for file in files] == [
        ("crown.png", "crown.png"), ("crown.png", ""), ("law.pdf", ""), ("crown.png", "")
    ]  # fmt: skip
    assert len(list_stored()) == 2


def test_a_form_has_each_field_as_a_part(zeus):
    answer = post_form(zeus, **{**HELLO, "recipient": ["hera@olimpus.com", "iris@olimpus.com"]}, attachment=a_file())

    assert answer.status_code == 202, answer.content
    mail = Mail.objects.get()
    assert mail.recipient == "hera@olimpus.com, iris@olimpus.com"
    assert mail.files.get().filename == "crown.png"


def test_a_person_submits_a_form_with_their_session():
    browser = browser_of(zeus_himself())

    answer = browser.post(MAILS, {**HELLO, "attachments": a_file()})

    assert answer.status_code == 202, answer.content
    assert Mail.objects.get().files.count() == 1


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ({"mail": "{"}, "not_json"),
        ({"mail": ["{}", "{}"]}, "invalid_form"),
        ({"mail": "{}", "sender": "zeus@olimpus.com"}, "invalid_form"),
        ({"mail": json.dumps(HELLO), "file": a_file()}, "invalid_form"),
        ({**HELLO, "subject": ["a", "b"]}, "invalid_form"),
        ({**HELLO, "nonsense": "a"}, "invalid_mail"),
        ({**HELLO, "attachments": "text"}, "invalid_mail"),
        ({**HELLO, "attachments": a_file(b"<html>")}, "invalid_mail"),
        ({**HELLO, "attachments": a_file(b"")}, "invalid_mail"),
        ({**HELLO, "inline": a_file()}, "invalid_mail"),
        ({}, "invalid_mail"),
    ],
)
def test_what_is_wrong_with_a_form_is_said(zeus, parts, code):
    problem(post_form(zeus, **parts), 400, code)
    assert not list_stored()


def test_a_form_of_ten_thousand_parts_is_refused(zeus):
    file = b'--x\r\nContent-Disposition: form-data; name="attachments"; filename="a"\r\n\r\na\r\n'
    field = b'--x\r\nContent-Disposition: form-data; name="tags"\r\n\r\na\r\n'

    for part in (file, field):
        answer = zeus.generic("POST", MAILS, part * 10_000 + b"--x--", content_type="multipart/form-data; boundary=x")
        problem(answer, 400, "too_many_parts")
    assert not Mail.objects.exists()


@pytest.mark.parametrize(("part", "content"), [("attachments", b"x"), ("inline", b"x"), ("mail", b"{}")])
def test_a_file_without_a_name_is_refused_and_its_part_named(zeus, part, content):
    head = f'--x\r\nContent-Disposition: form-data; name="{part}"; filename=""\r\n\r\n'.encode()
    subject = b'--x\r\nContent-Disposition: form-data; name="subject"\r\n\r\nHi\r\n'

    answer = zeus.generic(
        "POST", MAILS, subject + head + content + b"\r\n--x--", content_type="multipart/form-data; boundary=x"
    )

    problem(answer, 400, "invalid_form")
    assert f"The form cannot be read: the file in the part '{part}' has no name" in answer.json()["detail"]
    assert not list_stored()


def test_an_empty_file_field_of_a_browser_is_no_attachment(zeus):
    parts = {name: value for name, value in HELLO.items() if isinstance(value, str)}
    body = b"".join(
        f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in parts.items()
    )
    empty = b'--x\r\nContent-Disposition: form-data; name="attachments"; filename=""\r\n\r\n\r\n--x--'

    answer = zeus.generic("POST", MAILS, body + empty, content_type="multipart/form-data; boundary=x")

    assert answer.status_code == 202
    assert not Mail.objects.get().files.exists()


def test_a_nested_form_is_a_file_like_any_other(zeus):
    bomb = b"--y\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n" * 1000
    head = b'--x\r\nContent-Disposition: form-data; name="attachments"; filename="a"\r\n'
    body = head + b"Content-Type: multipart/mixed; boundary=y\r\n\r\n" + bomb + b"\r\n--x--"

    answer = zeus.generic("POST", MAILS, body, content_type="multipart/form-data; boundary=x")

    problem(answer, 400, "invalid_mail")


def test_only_a_submission_may_be_a_form(zeus):
    mail = zeus.post(MAILS, HELLO).json()

    problem(zeus.post(f"{mail['url']}/cancel", {"note": "a"}, format="multipart"), 415)
