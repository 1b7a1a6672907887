"""The form as browsers without scripts send it: its files go to the disk, and its fields stay small."""

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, TemporaryUploadedFile
from django.http import HttpResponse
from django.urls.resolvers import URLPattern

from mails.tests.people import browser_of, zeus
from mercury.lib.rest import upload_slots

pytestmark = pytest.mark.django_db
FORM = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com"}


@pytest.fixture
def seen(monkeypatch):
    """What the form's view gets: its fields and its files."""
    requests = []

    def page(request, **_):
        requests.append((dict(request.POST), request.FILES.getlist("uploads")))
        return HttpResponse()

    resolve = URLPattern.resolve

    def resolved(self, path):
        match = resolve(self, path)
        if match is not None and match.url_name == "submit":
            match.func = page
        return match

    monkeypatch.setattr(URLPattern, "resolve", resolved)
    return requests


def a_file(size: int) -> SimpleUploadedFile:
    return SimpleUploadedFile("a.bin", b"x" * size)


def test_files_go_to_the_disk(seen, settings):
    settings.MERCURY_MAX_SIZE = settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 200_000
    settings.MERCURY_MAX_FILE_SIZE = 1_000_000

    answer = browser_of(zeus()).post("/", {**FORM, "uploads": [a_file(300_000), a_file(100_000)]})

    [(fields, files)] = seen
    assert answer.status_code == 200
    assert fields["sender"] == ["zeus@olimpus.com"]
    assert [(type(file), file.size) for file in files] == [
        (TemporaryUploadedFile, 300_000),
        (TemporaryUploadedFile, 100_000),
    ]


def test_a_form_that_is_too_large_is_refused_before_it_is_read(seen, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = settings.MERCURY_MAX_FILE_SIZE = 100_000

    answer = browser_of(zeus()).post("/", {**FORM, "uploads": a_file(250_000)})

    assert (answer.status_code, seen) == (413, [])


def test_fields_are_as_small_as_without_files(seen, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100_000

    answer = browser_of(zeus()).post("/", {**FORM, "content": "x" * 150_000})

    assert (answer.status_code, seen) == (413, [])


def test_only_people_who_signed_in_send_one(client, seen, settings):
    client.cookies[settings.SESSION_COOKIE_NAME] = "nonsense"

    answer = client.post("/", {**FORM, "uploads": a_file(100_000)})

    assert (answer.status_code, seen) == (413, [])


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("multipart/form-data", b"x" * 100_000),
        ("multipart/form-data; boundary=a", b"--a\r\n" * 50_000),
        ("multipart/form-data; boundary=" + "b" * 1000, b"x" * 100_000),
    ],
)
def test_a_form_that_cannot_be_read_is_the_clients_fault(seen, kind, body):
    answer = browser_of(zeus()).generic("POST", "/", body, content_type=kind)

    assert answer.status_code in (200, 400)
    assert answer.status_code == 400 or seen == [({}, [])]


def test_so_many_forms_at_once_are_asked_to_come_back(seen, monkeypatch):
    monkeypatch.setattr(upload_slots, "most", 0)

    answer = browser_of(zeus()).post("/", {**FORM, "uploads": a_file(100_000)})

    assert (answer.status_code, answer["Retry-After"], seen) == (503, "5", [])


def test_a_slot_is_free_again_afterwards(seen, monkeypatch):
    monkeypatch.setattr(upload_slots, "most", 1)
    browser = browser_of(zeus())

    answers = [browser.post("/", {**FORM, "uploads": a_file(100_000)}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 200]
