"""Files that clients upload: their own, of any form, within their quota, and nothing half stored."""

import hashlib
import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client as Browser

from mails.files import contents
from mails.models import FileContent, StoredFile, UnusedFile
from mails.tests.callers import caller, problem
from mails.tests.files.support import FILES, PDF, PNG, TEXT, list_stored, upload
from mails.tests.people import browser_of
from mails.tests.people import zeus as zeus_himself
from mercury.lib.database import database_clock
from mercury.lib.rest import upload_slots

pytestmark = pytest.mark.django_db


@pytest.fixture
def zeus():
    return caller()


def test_a_file_is_uploaded_and_read_back(zeus):
    answer = upload(zeus)

    assert answer.status_code == 201, answer.content
    body = answer.json()
    assert answer["Location"] == body["url"] == f"http://testserver{FILES}{body['id']}"
    assert body["filename"] == "crown.png"
    assert body["content_type"] == "image/png"
    assert body["size"] == body["received"] == len(PNG)
    assert body["sha256"] == hashlib.sha256(PNG).hexdigest()
    assert zeus.get(body["url"]).json() == body
    assert zeus.get(FILES).json()["files"] == [body["url"]]
    assert zeus.get(f"{FILES}?expand=true&filter=filename,eq,crown.png").json()["files"] == [body]


@pytest.mark.parametrize(
    ("header", "filename"),
    [
        ('attachment; filename="crown.png"', "crown.png"),
        ("attachment; filename*=UTF-8''%E2%9A%A1.png", "⚡.png"),
        ('attachment; filename="../../crown.png"', "crown.png"),
        ('attachment; filename="bl\xc3\xa4tter.png"', "blätter.png"),
        ("attachment", "file"),
    ],
)
def test_a_name_may_come_in_a_header(zeus, header, filename):
    answer = upload(zeus, filename="", HTTP_CONTENT_DISPOSITION=header)

    assert answer.json()["filename"] == filename


def test_a_file_may_come_in_a_form(zeus):
    answer = zeus.post(FILES, {"file": SimpleUploadedFile("crown.pdf", PDF, "application/pdf")}, format="multipart")

    assert answer.status_code == 201, answer.content
    assert (answer.json()["filename"], answer.json()["content_type"]) == ("crown.pdf", "application/pdf")
    assert list_stored()[0].read_bytes() == PDF


def test_a_person_uploads_with_their_session():
    browser = browser_of(zeus_himself())

    answer = browser.post(FILES, {"file": SimpleUploadedFile("crown.png", PNG, "image/png")})

    assert answer.status_code == 201, answer.content
    assert StoredFile.objects.get().user.username == "zeus"


@pytest.mark.parametrize(("token", "status"), [("right", 201), ("wrong", 403)])
def test_a_page_uploads_a_file_as_it_is_with_the_token_in_a_header(token, status):
    browser = Browser(enforce_csrf_checks=True)
    browser.force_login(zeus_himself())
    browser.get("/")
    token = browser.cookies["csrftoken"].value if token == "right" else "x" * 32

    answer = browser.post(f"{FILES}?filename=crown.png", PNG, "image/png", headers={"X-CSRFToken": token})

    assert answer.status_code == status, answer.content
    assert StoredFile.objects.exists() is (status == 201)


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"file": "text"},
        {"files": SimpleUploadedFile("a.png", PNG)},
        {"file": SimpleUploadedFile("a.png", PNG), "more": "x"},
        {"file": [SimpleUploadedFile("a.png", PNG), SimpleUploadedFile("b.png", PNG)]},
    ],
)
def test_a_form_has_one_file(zeus, form):
    problem(zeus.post(FILES, form, format="multipart"), 400, "invalid_form")
    assert not StoredFile.objects.exists()


def test_a_form_of_ten_thousand_files_is_refused(zeus):
    part = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\na\r\n'

    answer = zeus.generic("POST", FILES, part * 10_000 + b"--x--", content_type="multipart/form-data; boundary=x")

    problem(answer, 400)
    assert not list_stored()


@pytest.mark.parametrize(
    "body", [b"", b"--x", b"--x\r\n", b"--x\r\nContent-Disposition: form-data; name=file; filename=a"]
)
def test_a_broken_form_is_the_clients_fault(zeus, body):
    problem(zeus.generic("POST", FILES, body, content_type="multipart/form-data; boundary=x"), 400)
    problem(zeus.generic("POST", FILES, body, content_type="multipart/form-data"), 400)


def test_the_same_content_is_stored_once(zeus):
    first, second = upload(zeus).json(), upload(zeus, filename="copy.png").json()
    contents.delete_unused(10)

    assert first["id"] != second["id"]
    assert first["sha256"] == second["sha256"]
    assert len(list_stored()) == 1


def test_a_type_that_is_not_declared_is_found(zeus):
    assert upload(zeus, content_type="application/octet-stream").json()["content_type"] == "image/png"
    assert upload(zeus, TEXT, filename="a.txt", content_type="").json()["content_type"] == "text/plain"


@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b"", "image/png", "empty_file"),
        (b"<html>", "image/png", "wrong_content_type"),
        (PNG, "nonsense", "invalid_content_type"),
    ],
)
def test_what_is_not_a_file_is_refused_and_leaves_nothing(zeus, content, content_type, code):
    problem(upload(zeus, content, content_type=content_type), 400, code)

    contents.delete_unused(10)
    assert not StoredFile.objects.exists()
    assert not FileContent.objects.exists()
    assert not UnusedFile.objects.exists()
    assert not list_stored()


def test_a_file_that_is_too_large_is_refused_before_it_is_read(zeus, settings):
    settings.MERCURY_MAX_FILE_SIZE = 50

    problem(upload(zeus, bytes(51)), 413, "too_large")
    problem(upload(zeus, bytes(100_000)), 413, "too_large")
    assert not StoredFile.objects.exists()


def test_a_body_that_breaks_off_leaves_nothing(zeus):
    sent = {"wsgi.input": io.BytesIO(PNG), "CONTENT_LENGTH": str(len(PNG) + 1)}

    problem(upload(zeus, PNG, **sent), 400, "body_incomplete")

    contents.delete_unused(10)
    assert not StoredFile.objects.exists()
    assert not list_stored()


def test_a_client_has_a_quota(zeus, settings):
    settings.MERCURY_FILE_QUOTA = len(PNG) + 10

    kept = upload(zeus).json()
    problem(upload(zeus), 409, "quota_exceeded")
    assert upload(caller("hermes")).status_code == 201
    assert zeus.delete(kept["url"]).status_code == 204
    assert upload(zeus).status_code == 201


def test_uploads_in_progress_have_their_place_in_the_quota(zeus, settings, monkeypatch):
    settings.MERCURY_FILE_QUOTA = 2 * len(PNG) - 1
    answers = []

    def upload_meanwhile(content):
        monkeypatch.setattr(contents, "write", write)
        answers.append(upload(zeus))
        return write(content)

    write = contents.write
    monkeypatch.setattr(contents, "write", upload_meanwhile)
    assert upload(zeus).status_code == 201
    problem(answers[0], 409, "quota_exceeded")


def test_files_of_others_do_not_exist(zeus):
    url = upload(zeus).json()["url"]
    hermes = caller("hermes")

    problem(hermes.get(url), 404)
    problem(hermes.delete(url), 404)
    assert hermes.get(FILES).json()["files"] == []
    problem(zeus.get(FILES + "nonsense"), 404)
    assert zeus.get(url).status_code == 200


def test_a_key_needs_the_scope(zeus):
    reader = caller("reader", scopes=["mails:read"])

    for answer in (upload(reader), reader.get(FILES), reader.delete(FILES + "x")):
        problem(answer, 403, "missing_scope")


def test_nobody_uploads_without_signing_in(client):
    problem(upload(client), 401)
    problem(upload(client, bytes(100_000)), 413)


def test_an_expired_file_is_gone(zeus):
    url = upload(zeus).json()["url"]
    StoredFile.objects.update(expires_at=database_clock.now())

    problem(zeus.get(url), 410, "expired")
    assert zeus.get(FILES).json()["files"] == []


def test_a_file_that_is_deleted_while_it_arrives_stays_deleted(zeus, monkeypatch):
    def write(content):
        StoredFile.objects.all().delete()
        return written(content)

    written = contents.write
    monkeypatch.setattr(contents, "write", write)

    problem(upload(zeus), 410, "upload_deleted")
    assert not StoredFile.objects.exists()


def test_uploads_at_once_are_bounded(zeus, monkeypatch):
    monkeypatch.setattr(upload_slots, "most", 0)

    assert problem(upload(zeus), 503, "busy")
    monkeypatch.setattr(upload_slots, "most", 1)
    assert upload(zeus).status_code == upload(zeus).status_code == 201


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_a_compressed_body_is_refused_rather_than_stored_as_it_is(zeus, encoding):
    answer = upload(zeus, HTTP_CONTENT_ENCODING=encoding)

    problem(answer, 415, "unsupported_encoding")
    assert answer["Accept-Encoding"] == "identity"
    assert not StoredFile.objects.exists()


def test_a_compressed_form_is_refused(zeus):
    file = SimpleUploadedFile("crown.pdf", PDF, "application/pdf")

    problem(zeus.post(FILES, {"file": file}, format="multipart", HTTP_CONTENT_ENCODING="gzip"), 415)


@pytest.mark.parametrize("user", [False, True])
def test_an_upload_that_does_not_fit_waits_for_nobody_and_leaves_no_row(zeus, settings, user):
    settings.MERCURY_FILE_QUOTA = 2 * len(PNG)
    client = browser_of(zeus_himself()) if user else zeus

    said = [upload(client).status_code for _ in range(4)]

    assert said == [201, 201, 409, 409]
    assert StoredFile.objects.count() == 2
