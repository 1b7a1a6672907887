"""Files on Dropbox, over Dropbox's own client, with a stand-in at the other end of the wire."""

import io
import random
from collections.abc import Iterator

import pytest
from django.core.files.base import ContentFile, File

from mercury.lib.storages import dropbox as dropbox_storage
from mercury.lib.storages.dropbox import DropboxStorage
from mercury.lib.storages.errors import StorageUnavailable
from mercury.lib.storages.ranges import read_range
from mercury.tests.lib.storages import dropbox_stand_in
from mercury.tests.lib.storages.dropbox_stand_in import DropboxStandIn, ToStandIn
from mercury.tests.lib.storages.stand_in import Answer, Stream, as_json

NAME = "content/9f/9f86d081884c7d65"
LARGE = random.Random(1).randbytes(9_500_000)


@pytest.fixture
def dropbox() -> Iterator[DropboxStandIn]:
    stand_in = DropboxStandIn()
    with stand_in.serve():
        yield stand_in


@pytest.fixture
def storage(dropbox: DropboxStandIn, monkeypatch: pytest.MonkeyPatch) -> DropboxStorage:
    monkeypatch.setattr("time.sleep", lambda _: None)  # between retries of the client
    storage = DropboxStorage(
        app_key=dropbox_stand_in.APP_KEY,
        app_secret=dropbox_stand_in.APP_SECRET,
        oauth2_refresh_token=dropbox_stand_in.REFRESH_TOKEN,
        root_path="/mercury",
    )
    storage.client._session.mount("https://", ToStandIn(dropbox))
    return storage


def test_a_small_file_is_stored_read_and_deleted(storage: DropboxStorage, dropbox: DropboxStandIn) -> None:
    assert storage.save(NAME, ContentFile(b"nectar")) == NAME
    assert dropbox.files == {f"/mercury/{NAME}": b"nectar"}
    assert storage.exists(NAME)
    assert storage.size(NAME) == 6
    with storage.open(NAME) as file:
        assert file.read() == b"nectar"
    storage.delete(NAME)
    assert not storage.exists(NAME)
    assert dropbox.files == {}


def test_a_large_file_is_sent_in_pieces(storage: DropboxStorage, dropbox: DropboxStandIn) -> None:
    storage.save(NAME, File(io.BytesIO(LARGE), NAME))
    assert dropbox.files[f"/mercury/{NAME}"] == LARGE
    assert max(len(request.body) for request in dropbox.requests) <= dropbox_storage.PIECE


@pytest.mark.parametrize("size", [1, dropbox_storage.PIECE, dropbox_storage.PIECE + 1])
def test_a_stream_of_any_size_is_sent_as_it_comes(storage: DropboxStorage, dropbox: DropboxStandIn, size: int) -> None:
    storage.save(NAME, Stream(LARGE[:size]))
    assert dropbox.files == {f"/mercury/{NAME}": LARGE[:size]}


def test_a_range_is_fetched_alone(storage: DropboxStorage, dropbox: DropboxStandIn) -> None:
    dropbox.files[f"/mercury/{NAME}"] = LARGE
    assert b"".join(read_range(storage, NAME, 4_000_000, 4_300_000)) == LARGE[4_000_000:4_300_000]
    assert dropbox.requests[-1].headers["range"] == "bytes=4000000-4299999"


def test_an_open_file_is_read_from_where_it_was_set(storage: DropboxStorage, dropbox: DropboxStandIn) -> None:
    dropbox.files[f"/mercury/{NAME}"] = LARGE
    with storage.open(NAME) as file:
        file.seek(9_000_000)
        assert file.read() == LARGE[9_000_000:]
        file.seek(-10, io.SEEK_END)
        assert file.read(4) == LARGE[-10:-6]
        assert file.tell() == len(LARGE) - 6
    assert file.size == len(LARGE)


def test_a_missing_file_is_named(storage: DropboxStorage) -> None:
    with pytest.raises(FileNotFoundError, match=NAME):
        storage.open(NAME)
    with pytest.raises(FileNotFoundError):
        next(read_range(storage, NAME, 0, 1))
    storage.delete(NAME)  # no error: it is not there


def test_the_client_retries_what_may_pass(storage: DropboxStorage, dropbox: DropboxStandIn) -> None:
    storage.exists(NAME)  # has a token
    dropbox.failures = [
        Answer(503),
        as_json(429, {"error": {"reason": {".tag": "too_many_requests"}, "retry_after": 1}}),
    ]
    storage.save(NAME, ContentFile(b"nectar"))
    assert dropbox.files == {f"/mercury/{NAME}": b"nectar"}


def test_a_token_that_expired_is_renewed(storage: DropboxStorage, dropbox: DropboxStandIn) -> None:
    storage.exists(NAME)
    dropbox.tokens = 5  # the first one is not known any more
    assert not storage.exists(NAME)
    assert dropbox.tokens == 6


@pytest.mark.parametrize("failure", [Answer(500), as_json(429, {"error": {"reason": {".tag": "too_many_requests"}}})])
def test_what_does_not_pass_says_so_and_ends(storage: DropboxStorage, dropbox: DropboxStandIn, failure: Answer) -> None:
    storage.exists(NAME)
    dropbox.failures = [failure] * 20
    with pytest.raises(StorageUnavailable, match="Dropbox"):
        storage.exists(NAME)
    assert len(dropbox.failures) > 10


def test_a_refused_app_says_so_without_its_secret(storage: DropboxStorage, dropbox: DropboxStandIn) -> None:
    dropbox.failures = [as_json(400, {"error": "invalid_grant"})]
    with pytest.raises(StorageUnavailable, match="AuthError") as raised:
        storage.size(NAME)
    assert dropbox_stand_in.REFRESH_TOKEN not in str(raised.value)


def test_a_file_that_ends_too_early_is_no_whole_file(storage: DropboxStorage, dropbox: DropboxStandIn) -> None:
    dropbox.files[f"/mercury/{NAME}"] = b"nectar"
    with pytest.raises(StorageUnavailable, match="4 bytes too early"):
        list(read_range(storage, NAME, 0, 10))
