"""Files in a folder of Dropbox, by django-storages. An optional part: requirements-dropbox.txt.

Adds to django-storages what large files need: it would read a whole file into memory before its first byte, wait for a
rate limit without end, and take any error for a missing file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain
from typing import Any

import requests
from django.core.files.base import File
from django.utils.deconstruct import deconstructible
from dropbox.exceptions import ApiError, DropboxException
from dropbox.files import CommitInfo, UploadSessionCursor, WriteMode
from storages.backends.dropbox import DropboxStorage as DjangoStoragesDropbox

from mercury.lib.storages.errors import StorageUnavailable
from mercury.lib.storages.ranges import CHUNK, open_remote, read_pieces

PIECE = 8 * 1024 * 1024  # bytes of one request, which are held in memory: Dropbox asks for multiples of 4 MB
RETRIES = 3  # of one request
TIMEOUT = 60  # seconds without a byte from Dropbox


@deconstructible
class DropboxStorage(DjangoStoragesDropbox):  # type: ignore[misc]
    """A folder of Dropbox. Options: `app_key`, `app_secret`, `oauth2_refresh_token`, and `root_path`, the folder."""

    client: Any

    def __init__(self, **options: Any) -> None:
        super().__init__(timeout=TIMEOUT, **options)
        self.client = self.client.clone(max_retries_on_error=RETRIES, max_retries_on_rate_limit=RETRIES)

    def exists(self, name: str) -> bool:
        """Return True if there is a file of this name."""
        try:
            self._get_size(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Return its bytes. Raises FileNotFoundError."""
        return self._get_size(name)

    def delete(self, name: str) -> None:
        """Delete the file; do nothing if there is none."""
        with suppress(FileNotFoundError), _translate_errors(name):
            self.client.files_delete_v2(self._full_path(name))

    def read_range(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop` as they arrive, from one request."""
        with _translate_errors(name):
            headers = {"Range": f"bytes={start}-{stop - 1}"}
            _, response = self.client.files_download(self._full_path(name), extra_headers=headers)
            with closing(response):
                if response.status_code != 206:
                    raise StorageUnavailable(f"Dropbox answered {response.status_code} for a part of {name}.")
                yield from response.iter_content(CHUNK)

    def _open(self, name: str, mode: str = "rb") -> File[bytes]:
        if mode != "rb":
            raise ValueError("A file on Dropbox can only be opened for reading.")
        return open_remote(self, name, self.size(name))

    def _save(self, name: str, content: File[bytes]) -> str:
        """Send the content in pieces, as it arrives: neither its size nor a second look at it is needed."""
        pieces = read_pieces(content, PIECE)
        first = next(pieces)
        with _translate_errors(name):
            following = next(pieces, None)
            if following is None:
                self.client.files_upload(first, self._full_path(name), mode=WriteMode(self.write_mode))
            else:
                self._send(chain((following,), pieces), self._begin(first), name)
        return name

    def _begin(self, piece: bytes) -> UploadSessionCursor:
        session = self.client.files_upload_session_start(piece)
        return UploadSessionCursor(session_id=session.session_id, offset=len(piece))

    def _send(self, pieces: Iterable[bytes], cursor: UploadSessionCursor, name: str) -> None:
        for piece in pieces:
            self.client.files_upload_session_append_v2(piece, cursor)
            cursor.offset += len(piece)
        commit = CommitInfo(path=self._full_path(name), mode=WriteMode(self.write_mode))
        self.client.files_upload_session_finish(b"", cursor, commit)

    def _get_size(self, name: str) -> int:
        with _translate_errors(name):
            return int(self.client.files_get_metadata(self._full_path(name)).size)


@contextmanager
def _translate_errors(name: str) -> Iterator[None]:
    """Raise the client's errors as those of a file; none of them shows a secret."""
    try:
        yield
    except ApiError as error:
        if _is_missing(error.error):
            raise FileNotFoundError(f"There is no file {name} in the folder on Dropbox.") from error
        raise StorageUnavailable(f"Dropbox refused a request for {name}: {error.error}.") from error
    except (DropboxException, requests.RequestException) as error:
        raise StorageUnavailable(f"Dropbox cannot be reached for {name}: {type(error).__name__}.") from error


def _is_missing(error: Any) -> bool:
    """Return True for a `path` or `path_lookup` error of any endpoint whose reason is `not_found`."""
    for kind in ("path", "path_lookup"):
        if getattr(error, f"is_{kind}", bool)():
            reason = getattr(error, f"get_{kind}")()
            return bool(getattr(reason, "is_not_found", bool)())
    return False
