"""Contents of attachments for calls: read in threads of their own, so that neither claims nor other calls wait for a storage."""

import asyncio
import contextlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from mails.files import storage
from mails.states import STORAGE_AWAY, HoldReason
from mercury.lib.storages.errors import FileMissing, StorageUnavailable
from providers.outcomes import Cause, NotAttempted

THREADS = 8  # contents that are read at once
SMALL = 1_000_000  # bytes; a small content is kept for the next emails that have it
KEPT = 16_000_000  # bytes of all that are kept

Contents = dict[str, bytes]  # by their hash


class AttachmentLoader:
    """Loads contents for one event loop."""

    def __init__(self, *, seconds: float) -> None:
        """Set the time that the contents of one email may take."""
        self._seconds = seconds
        self._recent = _RecentContents()
        self._threads = ThreadPoolExecutor(
            THREADS, thread_name_prefix="attachments"
        )  # none is started before it is needed

    def close(self) -> None:
        """Begin no other read."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def load(self, locations: Mapping[str, str]) -> Contents | NotAttempted:
        """Return the contents by their hash, or why the call cannot be made. `locations`: by the same hash."""
        if not locations:
            return {}
        loop = asyncio.get_running_loop()
        found = {sha256: self._recent.find(sha256) for sha256 in locations}
        try:
            async with asyncio.timeout(self._seconds):
                for sha256, location in locations.items():
                    if found[sha256] is None:
                        found[sha256] = await loop.run_in_executor(self._threads, self._read, sha256, location)
        except FileMissing:
            return build_missing()
        except StorageUnavailable as error:
            return _build_unavailable(str(error))
        except TimeoutError:
            return _build_unavailable(f"no answer within {self._seconds:g} s")
        return {sha256: content for sha256, content in found.items() if content is not None}

    def _read(self, sha256: str, location: str) -> bytes:
        content = storage.read(location)
        self._recent.keep(sha256, content)
        return content


class _RecentContents:
    """The small contents that were read last: a logo or a leaflet is in thousands of emails."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0

    def find(self, sha256: str) -> bytes | None:
        with self._lock, contextlib.suppress(KeyError):
            self._contents.move_to_end(sha256)
            return self._contents[sha256]
        return None

    def keep(self, sha256: str, content: bytes) -> None:
        if len(content) > SMALL:
            return
        with self._lock:
            self._size += len(content) - len(self._contents.get(sha256, b""))
            self._contents[sha256] = content
            while self._size > KEPT:
                _, oldest = self._contents.popitem(last=False)
                self._size -= len(oldest)


def build_missing() -> NotAttempted:
    """Return the outcome of a call for which a content is gone."""
    words = "The content of an attachment is missing in the file storage, so Mercury made no request."
    return NotAttempted(cause=Cause.FILE, reason_code=HoldReason.FILE_MISSING, reason=words)


def _build_unavailable(why: str) -> NotAttempted:
    words = f"The file storage could not be read, so Mercury made no request: {why}."
    return NotAttempted(cause=Cause.STORAGE, reason_code=STORAGE_AWAY, reason=words)
