"""Files on Google Drive, over Google's own client, with a stand-in at the other end of the wire."""

import io
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import ContentFile, File

from mercury.lib.storages import google_drive
from mercury.lib.storages.errors import StorageUnavailable
from mercury.lib.storages.google_drive import GoogleDriveStorage
from mercury.lib.storages.ranges import read_range
from mercury.tests.lib.storages import google_drive_stand_in
from mercury.tests.lib.storages.google_drive_stand_in import FOLDER, GoogleDriveStandIn
from mercury.tests.lib.storages.stand_in import LOST, Answer, Stream

NAME = "content/9f/9f86d081884c7d65"
LARGE = random.Random(1).randbytes(9_500_000)


@pytest.fixture
def drive() -> Iterator[GoogleDriveStandIn]:
    stand_in = GoogleDriveStandIn()
    with stand_in.serve():
        yield stand_in


@pytest.fixture
def storage(drive: GoogleDriveStandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GoogleDriveStorage:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between retries of the client

    class Storage(GoogleDriveStorage):
        def make_http(self) -> Any:
            return google_drive_stand_in.connect(drive)

    return Storage(credentials=drive.write_key(tmp_path / "key.json"), folder=FOLDER)


def test_a_small_file_is_stored_read_and_deleted(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    assert storage.save(NAME, ContentFile(b"nectar")) == NAME
    assert drive.files == {"id-0": (NAME, b"nectar")}
    assert storage.exists(NAME)
    assert storage.size(NAME) == 6
    with storage.open(NAME) as file:
        assert file.read() == b"nectar"
    storage.delete(NAME)
    assert not storage.exists(NAME)
    assert drive.files == {}


def test_a_large_file_is_sent_in_pieces(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    storage.save(NAME, File(io.BytesIO(LARGE), NAME))
    assert drive.files == {"id-0": (NAME, LARGE)}
    assert max(len(request.body) for request in drive.requests) <= google_drive.PIECE


def test_an_upload_continues_after_a_piece_that_failed(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    storage.exists(NAME)  # has a token
    drive.failures = [None, None, None, Answer(503)]  # look, begin, first piece, second piece
    storage.save(NAME, File(io.BytesIO(LARGE), NAME))
    assert drive.files == {"id-0": (NAME, LARGE)}
    assert drive.list_paths().count("PUT /session/0") == 4


@pytest.mark.parametrize(
    "size", [1, google_drive.PIECE - 1, google_drive.PIECE, google_drive.PIECE + 1, 2 * google_drive.PIECE]
)
def test_a_stream_of_any_size_is_sent_as_it_comes(
    storage: GoogleDriveStorage, drive: GoogleDriveStandIn, size: int
) -> None:
    storage.save(NAME, Stream(LARGE[:size]))
    assert drive.files == {"id-0": (NAME, LARGE[:size])}


def test_a_piece_of_which_a_part_arrived_is_completed(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    drive.takes = 1_000_000
    storage.save(NAME, Stream(LARGE))
    assert drive.files == {"id-0": (NAME, LARGE)}


def test_an_upload_continues_after_a_connection_that_was_lost(
    storage: GoogleDriveStorage, drive: GoogleDriveStandIn
) -> None:
    storage.exists(NAME)
    drive.failures = [None, None, None, LOST]
    storage.save(NAME, Stream(LARGE))
    assert drive.files == {"id-0": (NAME, LARGE)}


def test_a_connection_that_is_lost_again_and_again_ends_the_upload(
    storage: GoogleDriveStorage, drive: GoogleDriveStandIn
) -> None:
    storage.exists(NAME)
    drive.failures = [None, None, *[LOST] * 20]
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        storage.save(NAME, Stream(LARGE))
    assert len(drive.failures) > 5
    assert drive.files == {}


def test_a_range_is_fetched_alone_and_in_pieces(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    drive.add(NAME, LARGE)
    assert b"".join(read_range(storage, NAME, 4_000_000, 9_000_000)) == LARGE[4_000_000:9_000_000]
    ranges = [request.headers["range"] for request in drive.requests if "range" in request.headers]
    assert ranges == ["bytes=4000000-8194303", "bytes=8194304-8999999"]


def test_an_open_file_is_read_from_where_it_was_set(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    drive.add(NAME, LARGE)
    with storage.open(NAME) as file:
        file.seek(9_000_000)
        assert file.read() == LARGE[9_000_000:]


def test_a_name_with_quotes_is_a_name(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    name = "it's \\ a name"
    drive.add(name, b"nectar")
    assert storage.size(name) == 6


def test_all_files_of_a_name_are_deleted(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    drive.add(NAME, b"nectar")
    drive.add(NAME, b"nectar")
    storage.delete(NAME)
    storage.delete(NAME)  # no error: it is not there
    assert drive.files == {}


def test_a_missing_file_is_named(storage: GoogleDriveStorage) -> None:
    with pytest.raises(FileNotFoundError, match=NAME):
        storage.open(NAME)
    with pytest.raises(FileNotFoundError):
        next(read_range(storage, NAME, 0, 1))


def test_what_does_not_pass_says_so_and_ends(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    storage.exists(NAME)
    drive.failures = [Answer(503)] * 20
    with pytest.raises(StorageUnavailable, match="503"):
        storage.exists(NAME)
    assert len(drive.failures) > 10


def test_a_file_that_ends_too_early_is_no_whole_file(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    drive.add(NAME, b"nectar")
    with pytest.raises(StorageUnavailable, match="6 bytes"):
        list(read_range(storage, NAME, 0, 10))


def test_a_refused_key_says_so(storage: GoogleDriveStorage, drive: GoogleDriveStandIn) -> None:
    drive.failures = [Answer(400, b'{"error": "invalid_grant"}')]
    with pytest.raises(StorageUnavailable, match="RefreshError"):
        storage.size(NAME)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"type": "service_account"}', '{"type": "authorized_user"}'])
def test_credentials_that_are_none_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "key.json"
    path.write_text(content)
    with pytest.raises(ImproperlyConfigured, match="JSON key of a service account"):
        GoogleDriveStorage(credentials=str(path), folder=FOLDER)


def test_the_token_of_a_user_is_read(tmp_path: Path) -> None:
    path = tmp_path / "token.json"
    info = {"type": "authorized_user", "client_id": "i", "client_secret": "s", "refresh_token": "r"}
    path.write_text(json.dumps(info))
    GoogleDriveStorage(credentials=str(path), folder=FOLDER)
