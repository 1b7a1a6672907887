"""Files in a folder of Google Drive, by Google's own client. An optional part: requirements-google-drive.txt.

Drive knows files by their ids, and may have several of one name. Here each file has its whole name, slashes included, in
one folder. Uploads are resumable: a piece that fails is sent again, and never the whole file.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import httplib2
from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File
from django.core.files.storage import Storage
from django.utils.deconstruct import deconstructible
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import credentials as user_credentials
from google.oauth2 import service_account
from google_auth_httplib2 import AuthorizedHttp
from googleapiclient import discovery, http
from googleapiclient.errors import Error as GoogleError
from googleapiclient.errors import HttpError

from mercury.lib.storages.errors import StorageUnavailable
from mercury.lib.storages.ranges import open_remote, read_pieces

SCOPE = (
    "https://www.googleapis.com/auth/drive"  # the narrower `drive.file` cannot write into a folder it did not create
)
PIECE = 4 * 1024 * 1024  # bytes of one request: the client has each whole in memory. Drive asks for multiples of 256 KB
RETRIES = 3  # of one request, with waits of up to 14 s in all
_SHARED_DRIVES = {"supportsAllDrives": True, "includeItemsFromAllDrives": True}


@deconstructible
class GoogleDriveStorage(Storage):
    """A folder of Google Drive.

    `credentials`: the file of a service account's key, or of a user's token (`"type": "authorized_user"`), as Google
    writes them. `folder`: the id of the folder, the last part of its URL.
    """

    def __init__(self, *, credentials: str, folder: str) -> None:
        self._credentials = _load_credentials(Path(credentials))
        self._folder = folder
        # Without an `http` of its own the service cannot make a request: `httplib2` is not safe among threads.
        self._files = discovery.build(
            "drive", "v3", http=self.make_http(), static_discovery=True, cache_discovery=False
        ).files()

    def make_http(self) -> Any:
        """Return a connection of its own, with a timeout."""
        return http.build_http()

    def exists(self, name: str) -> bool:
        """Return True if there is a file of this name."""
        return bool(self._find(name))

    def size(self, name: str) -> int:
        """Return its bytes. Raises FileNotFoundError."""
        return int(self._get(name)["size"])

    def delete(self, name: str) -> None:
        """Delete all files of this name; do nothing if there is none."""
        for found in self._find(name):
            with suppress(FileNotFoundError):  # somebody else was faster
                self._execute(self._files.delete(fileId=found["id"], supportsAllDrives=True), name)

    def read_range(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop`, a request for each piece."""
        file_id = self._get(name)["id"]
        for begin in range(start, stop, PIECE):
            end = min(begin + PIECE, stop)
            request = self._files.get_media(fileId=file_id, supportsAllDrives=True)
            request.headers["range"] = f"bytes={begin}-{end - 1}"
            content: bytes = self._execute(request, name)
            if len(content) != end - begin:
                raise StorageUnavailable(f"Google Drive sent {len(content)} bytes of {name} instead of {end - begin}.")
            yield content

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if mode != "rb":
            raise ValueError("A file on Google Drive can only be opened for reading.")
        return open_remote(self, name, self.size(name))

    def _save(self, name: str, content: File[bytes]) -> str:
        media = _Source(content)
        body = {"name": name, "parents": [self._folder]}
        request = self._files.create(body=body, media_body=media, fields="id,size", supportsAllDrives=True)
        with _translate_errors(name):
            stored = self._upload(request)
        if int(stored["size"]) != media.size():
            raise StorageUnavailable(f"Google Drive stored {stored['size']} of {media.size()} bytes of {name}.")
        return name

    def _upload(self, request: Any) -> Any:
        """Send piece by piece. After a connection that was lost, the client asks how far Google came, and continues."""
        stored, lost = None, 0
        while stored is None:
            try:
                _, stored = request.next_chunk(http=self._connect(), num_retries=RETRIES)
                lost = 0
            except (ConnectionError, TimeoutError, HTTPException, httplib2.ServerNotFoundError):
                lost += 1
                if lost > RETRIES:
                    raise
                time.sleep(random.random() * 2**lost)  # noqa: S311 (no secret)
        return stored

    def _get(self, name: str) -> Mapping[str, Any]:
        found = self._find(name)
        if not found:
            raise FileNotFoundError(f"There is no file {name} in the folder on Google Drive.")
        return found[0]

    def _find(self, name: str) -> list[Mapping[str, Any]]:
        query = f"name = '{_escape(name)}' and '{_escape(self._folder)}' in parents and trashed = false"
        fields = "files(id,size)"
        answer = self._execute(self._files.list(q=query, fields=fields, orderBy="createdTime", **_SHARED_DRIVES), name)
        return list(answer["files"])

    def _execute(self, request: Any, name: str) -> Any:
        with _translate_errors(name):
            return request.execute(http=self._connect(), num_retries=RETRIES)

    def _connect(self) -> Any:
        return AuthorizedHttp(self._credentials, http=self.make_http())


class _Source(http.MediaUpload):  # type: ignore[misc]
    """The bytes of an upload, read once and in order; the piece in progress is kept, so that it can be sent again.

    One byte is read ahead: the last piece has to say that it is the last, also where it is a whole one.
    """

    def __init__(self, content: File[bytes]) -> None:
        self._pieces = read_pieces(content, PIECE)
        self._start, self._held = 0, b""
        self._has_ended = False
        self._read_ahead()

    def chunksize(self) -> int:
        """Return the bytes of one piece."""
        return PIECE

    def mimetype(self) -> str:
        """Return a type that Drive does not convert."""
        return "application/octet-stream"

    def resumable(self) -> bool:
        """Return True."""
        return True

    def has_stream(self) -> bool:
        """Return False: the client sends nothing where it repeats a piece of a stream."""
        return False

    def size(self) -> int | None:
        """Return the bytes of the whole, once its end was read."""
        return self._start + len(self._held) if self._has_ended else None

    def getbytes(self, begin: int, length: int) -> bytes:
        """Return the piece that begins there. What is before it has arrived."""
        if not self._start <= begin <= self._start + len(self._held):
            raise StorageUnavailable("Google Drive has lost a part of the upload.")
        self._held, self._start = self._held[begin - self._start :], begin
        self._read_ahead()
        return self._held[:length]

    def _read_ahead(self) -> None:
        while not self._has_ended and len(self._held) <= PIECE:
            piece = next(self._pieces, b"")
            self._held, self._has_ended = self._held + piece, not piece


def _load_credentials(path: Path) -> Any:
    try:
        info = json.loads(path.read_text())
        if info["type"] == "authorized_user":
            return user_credentials.Credentials.from_authorized_user_info(info)  # type: ignore[no-untyped-call]
        return service_account.Credentials.from_service_account_info(info, scopes=[SCOPE])  # type: ignore[no-untyped-call]
    except (OSError, ValueError, KeyError, TypeError, GoogleAuthError) as error:
        raise ImproperlyConfigured(
            f"The credentials of Google Drive in {path} cannot be read ({type(error).__name__}). "
            "Use the JSON key of a service account, or a file with the type authorized_user."
        ) from error


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'", "\\'")


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Raise the client's errors as those of a file; none of them shows a secret."""
    try:
        yield
    except StorageUnavailable:
        raise
    except HttpError as error:
        if error.status_code == 404:
            raise FileNotFoundError(f"Google Drive has no file {name}, or it is not shared with Mercury.") from error
        raise StorageUnavailable(f"Google Drive answered {error.status_code} for {name}.") from error
    except (GoogleError, GoogleAuthError, httplib2.HttpLib2Error, HTTPException, OSError) as error:
        raise StorageUnavailable(f"Google Drive cannot be reached for {name}: {type(error).__name__}.") from error
