"""Resumable uploads: bytes arrive once, in order, and whichever process goes on."""

import base64
import hashlib
import io

import pytest
from django.http import UnreadablePostError

from mails.files import contents, resumable, storage
from mails.files.uploads import FileTooLarge
from mails.models import FilePiece, StoredFile, UnusedFile
from mails.tests.callers import HELLO, MAILS, caller, problem
from mails.tests.files.support import FILES, PNG, list_stored
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db
CONTENT = PNG + bytes(range(256)) * 40
SIZE = len(CONTENT)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(resumable, "PIECE", 1000)


@pytest.fixture
def zeus():
    return caller()


def begin(client, size=SIZE, filename="crown.png", **headers):
    metadata = (
        f"filename {base64.b64encode(filename.encode()).decode()},filetype {base64.b64encode(b'image/png').decode()}"
    )
    headers = {
        "HTTP_TUS_RESUMABLE": "1.0.0",
        "HTTP_UPLOAD_LENGTH": str(size),
        "HTTP_UPLOAD_METADATA": metadata,
    } | headers
    return client.generic("POST", FILES, b"", content_type="application/octet-stream", **headers)


def send(client, url, start, content, content_type="application/offset+octet-stream", **headers):
    return client.generic("PATCH", url, content, content_type=content_type, HTTP_UPLOAD_OFFSET=str(start), **headers)


def offset_of(client, url):
    answer = client.head(url)
    assert answer.status_code == 200
    return int(answer["Upload-Offset"])


def test_a_file_arrives_in_pieces_and_is_used(zeus):
    answer = begin(zeus)
    url = answer["Location"]
    assert answer.status_code == 201
    assert (answer["Tus-Resumable"], answer["Upload-Offset"]) == ("1.0.0", "0")

    first = send(zeus, url, 0, CONTENT[:2500])
    assert (first.status_code, first["Upload-Offset"]) == (204, "2500")
    assert offset_of(zeus, url) == 2500
    assert send(zeus, url, 2500, CONTENT[2500:])["Upload-Offset"] == str(len(CONTENT))

    file = zeus.get(url).json()
    assert (file["filename"], file["content_type"]) == ("crown.png", "image/png")
    assert file["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    assert zeus.post(MAILS, {**HELLO, "attachments": [{"file": file["id"]}]}).status_code == 202
    contents.delete_unused(100)
    assert [path.read_bytes() for path in list_stored()] == [CONTENT]
    assert not FilePiece.objects.exists()


def test_what_a_dead_process_was_reading_is_sent_again(zeus, monkeypatch):
    url = begin(zeus)["Location"]
    kept = storage.save

    def die(location, content):
        if FilePiece.objects.count() == 2:
            raise SystemExit  # as kill -9: nothing after it runs
        kept(location, content)

    monkeypatch.setattr(storage, "save", die)
    monkeypatch.setattr(contents, "discard", lambda locations: None)
    with pytest.raises(SystemExit):
        send(zeus, url, 0, CONTENT)
    monkeypatch.undo()

    assert offset_of(zeus, url) == 2000
    assert send(zeus, url, 2000, CONTENT[2000:]).status_code == 204
    assert zeus.get(url).json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()
    UnusedFile.objects.update(delete_at=database_clock.now())
    contents.delete_unused(100)
    assert len(list_stored()) == 1


def test_a_process_that_dies_before_the_end_leaves_an_upload_that_is_completed_later(zeus, monkeypatch):
    url = begin(zeus)["Location"]
    monkeypatch.setattr(resumable, "complete", lambda file: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        send(zeus, url, 0, CONTENT)
    monkeypatch.undo()

    assert offset_of(zeus, url) == len(CONTENT)
    assert zeus.get(url).json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_a_broken_connection_keeps_what_has_arrived(zeus):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell() >= 1500:
                raise UnreadablePostError("gone")
            return super().read(min(size, 500))

    file = StoredFile.objects.get(pk=begin(zeus).json()["id"])
    with pytest.raises(contents.ContentIncomplete):
        resumable.append(file, 0, Broken(CONTENT).read)

    assert StoredFile.objects.get().received == 1500


@pytest.mark.parametrize("start", [1, 999, 10**14])
def test_bytes_go_on_where_the_upload_ends(zeus, start):
    url = begin(zeus)["Location"]

    answer = send(zeus, url, start, b"x")

    assert answer.status_code in (409, 413)
    assert offset_of(zeus, url) == 0


def test_of_two_that_append_at_once_one_has_a_mismatch(zeus):
    first = StoredFile.objects.get(pk=begin(zeus).json()["id"])
    second = StoredFile.objects.get()

    resumable.append(first, 0, io.BytesIO(CONTENT[:500]).read)
    with pytest.raises(resumable.OffsetMismatch):
        resumable.append(second, 0, io.BytesIO(CONTENT[:500]).read)

    assert StoredFile.objects.get().received == 500
    contents.delete_unused(100)
    assert len(list_stored()) == 1


def test_more_than_was_announced_is_refused(zeus):
    url = begin(zeus, size=10)["Location"]

    problem(send(zeus, url, 0, bytes(11)), 413, "too_large")


def test_a_content_of_another_type_ends_the_upload(zeus):
    url = begin(zeus, size=6)["Location"]

    problem(send(zeus, url, 0, b"<html>"), 400, "wrong_content_type")
    problem(zeus.get(url), 404)
    contents.delete_unused(100)
    assert not list_stored()


def test_an_upload_expires_and_is_of_its_client_alone(zeus):
    url = begin(zeus)["Location"]
    hermes = caller("hermes")

    assert hermes.head(url).status_code == 404
    problem(send(hermes, url, 0, CONTENT), 404)
    StoredFile.objects.update(expires_at=database_clock.now())
    assert zeus.head(url).status_code == 410
    problem(send(zeus, url, 0, CONTENT), 410, "expired")


def test_an_upload_that_is_given_up_leaves_nothing(zeus):
    url = begin(zeus)["Location"]
    send(zeus, url, 0, CONTENT[:2500])

    assert zeus.delete(url).status_code == 204
    contents.delete_unused(100)
    assert not list_stored()
    assert not UnusedFile.objects.exists()


def test_an_incomplete_upload_cannot_be_used(zeus):
    file = begin(zeus).json()

    answer = zeus.post(MAILS, {**HELLO, "attachments": [{"file": file["id"]}]})

    assert problem(answer, 400)["errors"][0]["code"] == "incomplete_file"


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"HTTP_TUS_RESUMABLE": "0.2.2"}, 412, "wrong_tus_version"),
        ({"HTTP_UPLOAD_LENGTH": ""}, 400, "invalid_header"),
        ({"HTTP_UPLOAD_LENGTH": "-1"}, 400, "invalid_header"),
        ({"HTTP_UPLOAD_LENGTH": "0"}, 400, "empty_file"),
        ({"HTTP_UPLOAD_LENGTH": "9999999999999"}, 413, "too_large"),
        ({"HTTP_UPLOAD_METADATA": "filename !"}, 400, "invalid_header"),
    ],
)
def test_what_is_wrong_with_a_beginning_is_said(zeus, headers, status, code):
    problem(begin(zeus, **headers), status, code)
    assert not StoredFile.objects.exists()


def test_a_piece_has_its_own_media_type(zeus):
    url = begin(zeus)["Location"]

    problem(send(zeus, url, 0, CONTENT, content_type="application/octet-stream"), 415)


def test_the_server_says_what_it_speaks(zeus):
    answer = zeus.options(FILES)

    assert answer["Tus-Version"] == "1.0.0"
    assert set(answer["Tus-Extension"].split(",")) == {"creation", "expiration", "termination", "checksum"}
    assert answer["Tus-Checksum-Algorithm"] == "sha256,sha1,md5"


def checksum(content, algorithm="sha256"):
    return f"{algorithm} {base64.b64encode(hashlib.new(algorithm, content).digest()).decode()}"


@pytest.mark.parametrize("algorithm", resumable.ALGORITHMS)
def test_bytes_with_their_checksum_are_kept(zeus, algorithm):
    url = begin(zeus)["Location"]

    for start, content in ((0, CONTENT[:2500]), (2500, CONTENT[2500:])):
        answer = send(zeus, url, start, content, HTTP_UPLOAD_CHECKSUM=checksum(content, algorithm))
        assert answer.status_code == 204, answer.content

    assert zeus.get(url).json()["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_bytes_with_another_checksum_are_not_kept(zeus):
    url = begin(zeus)["Location"]
    send(zeus, url, 0, CONTENT[:500])

    answer = send(zeus, url, 500, CONTENT[500:], HTTP_UPLOAD_CHECKSUM=checksum(CONTENT))

    problem(answer, 460, "checksum_mismatch")
    assert answer.reason_phrase == "Checksum Mismatch"
    assert offset_of(zeus, url) == 500
    contents.delete_unused(100)
    assert len(list_stored()) == 1


def test_a_broken_connection_keeps_nothing_that_cannot_be_checked(zeus):
    chunks = [CONTENT[:1000], CONTENT[1000:1200]]

    def read(_size):
        if not chunks:
            raise UnreadablePostError("gone")
        return chunks.pop(0)

    file = StoredFile.objects.get(pk=begin(zeus).json()["id"])
    with pytest.raises(contents.ContentIncomplete):
        resumable.append(file, 0, read, checksum=resumable.Checksum("sha1", b""))

    assert StoredFile.objects.get().received == 0
    contents.delete_unused(100)
    assert not list_stored()


@pytest.mark.parametrize("header", ["", "sha256", "crc32 AAAA", "sha256 !", "SHA256 AAAA"])
def test_a_checksum_that_is_none_is_refused(zeus, header):
    url = begin(zeus)["Location"]

    answer = send(zeus, url, 0, b"x", HTTP_UPLOAD_CHECKSUM=header)

    assert answer.status_code in (400, 460)
    assert offset_of(zeus, url) == 0


def test_a_body_of_unknown_length_must_not_be_longer_than_announced(zeus):
    file = StoredFile.objects.get(pk=begin(zeus, size=1500).json()["id"])

    with pytest.raises(FileTooLarge):
        resumable.append(file, 0, io.BytesIO(CONTENT).read)

    assert StoredFile.objects.get().received == 1000
    assert StoredFile.objects.get().content_id is None


def test_a_compressed_piece_is_refused(zeus):
    url = begin(zeus)["Location"]

    problem(send(zeus, url, 0, CONTENT, HTTP_CONTENT_ENCODING="gzip"), 415, "unsupported_encoding")
    assert offset_of(zeus, url) == 0
