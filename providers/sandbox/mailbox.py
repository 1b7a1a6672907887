"""The emails that sandboxes captured, as Maildirs in the data folder, so that any mail reader opens them. Bounded."""

import datetime as dt
import email
import email.policy
import itertools
import os
import re
import socket
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from mercury.lib.mail import preview
from mercury.lib.runtime import private_files

_written = itertools.count()
_HOST = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname()) or "localhost"
_HEADERS_READ = 64 * 1024  # bytes of an email's beginning
_PRUNE_EVERY = 20  # counting the folder for each email would cost more than writing it


class KeptMailNotFound(Exception):
    """The mailbox has no email with that key, or no longer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptMail:
    """One email in a mailbox, as a list shows it."""

    key: str
    received_at: dt.datetime
    size: int
    sender: str
    to: str
    subject: str
    mail_id: str  # X-Mercury-ID, empty if it is not one of Mercury's ids

    def matches(self, words: Iterable[str]) -> bool:
        """Return True if each word, in lower case, is in its addresses, its subject or its Mercury id."""
        shown = f"{self.to}\n{self.sender}\n{self.subject}\n{self.mail_id}".lower()
        return all(word in shown for word in words)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxPage:
    """One page of a mailbox, newest first. `newer` and `older` are the keys at which the neighbouring pages begin, empty at the ends."""

    mails: list[KeptMail]
    newer: str
    older: str


def get_folder(account: str) -> Path:
    """Return the folder of the account's Maildir."""
    if not re.fullmatch(r"[a-z0-9-]+", account):
        raise ValueError(f"'{account}' is not an account name.")
    return Path(settings.MERCURY_DATA) / "sandbox" / account


def store(account: str, content: bytes) -> str:
    """Write an email and return its key. Once this returns, `load_page` shows it.

    The oldest beyond MERCURY_SANDBOX_KEEP are removed every 20 emails, so that a few more may exist in between.
    """
    count = next(_written)
    key = f"{time.time_ns()}.P{os.getpid()}Q{count}.{_HOST}"
    home = get_folder(account)
    if not (home / "new").is_dir():  # the one created last: other threads and processes may be creating them too
        for part in ("tmp", "cur", "new"):
            private_files.make_folder(home / part)
    private_files.write(home / "tmp" / key, content)
    (home / "tmp" / key).rename(home / "new" / key)
    if count % _PRUNE_EVERY == 0:
        prune(account)
    return key


def load_page(account: str, *, words: str = "", before: str = "", after: str = "", size: int = 50) -> MailboxPage:
    """Return the emails that match `words`: older than the key `before`, newer than `after`, or the newest.

    Reads headers until the page is full: those of all files if few match.
    """
    paths, wanted = _list_newest_first(account), words.lower().split()
    if after:
        found = list(
            itertools.islice(
                _load_matching((path for path in paths[::-1] if _read_key(path) > after), wanted), size + 1
            )
        )
        mails = found[:size][::-1]
        return MailboxPage(
            mails=mails, newer=mails[0].key if len(found) > size else "", older=mails[-1].key if mails else ""
        )
    found = list(
        itertools.islice(
            _load_matching((path for path in paths if not before or _read_key(path) < before), wanted), size + 1
        )
    )
    mails = found[:size]
    return MailboxPage(
        mails=mails, newer=mails[0].key if before and mails else "", older=mails[-1].key if len(found) > size else ""
    )


def _load_matching(paths: Iterable[Path], words: list[str]) -> Iterator[KeptMail]:
    for path in paths:
        try:
            mail = _load_summary(path)
        except FileNotFoundError:  # pruned, or moved by a mail reader, since the folder was listed
            continue
        if mail.matches(words):
            yield mail


def count_messages(account: str) -> int:
    """Return how many emails the mailbox has."""
    return len(_list_newest_first(account))


def read_source(account: str, key: str) -> bytes:
    """Return the bytes of one email. Raises KeptMailNotFound."""
    try:
        return _find_path(account, key).read_bytes()
    except FileNotFoundError:
        raise _build_not_found(account, key) from None


def get_size(account: str, key: str) -> int:
    """Return the size of one email in bytes. Raises KeptMailNotFound."""
    try:
        return _find_path(account, key).stat().st_size
    except FileNotFoundError:
        raise _build_not_found(account, key) from None


def _find_path(account: str, key: str) -> Path:
    path = next((path for path in _list_newest_first(account) if _read_key(path) == key), None)
    if path is None:
        raise _build_not_found(account, key)
    return path


def _build_not_found(account: str, key: str) -> KeptMailNotFound:
    return KeptMailNotFound(f"The sandbox '{account}' has no email '{key}'. It keeps only the newest.")


def clear(account: str) -> int:
    """Remove every email of the account and return their number."""
    paths = _list_newest_first(account)
    _remove(paths)
    return len(paths)


def prune(account: str) -> None:
    """Remove the oldest emails beyond MERCURY_SANDBOX_KEEP."""
    _remove(_list_newest_first(account)[settings.MERCURY_SANDBOX_KEEP :])


def _list_newest_first(account: str) -> list[Path]:
    home = get_folder(account)
    paths = [path for part in ("new", "cur") if (home / part).is_dir() for path in (home / part).iterdir()]
    return sorted(paths, key=lambda path: path.name, reverse=True)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _read_key(path: Path) -> str:
    """Return the file's name without the flags that a mail reader adds when it moves the file to `cur`."""
    return path.name.partition(":")[0]


def _load_summary(path: Path) -> KeptMail:
    with path.open("rb") as file:
        headers = email.message_from_bytes(file.read(_HEADERS_READ), policy=email.policy.compat32)
    stamp = path.name.partition(".")[0]
    is_ours = re.fullmatch(r"[0-9]{19}", stamp)  # nanoseconds; other programs may put emails here too
    return KeptMail(
        key=_read_key(path),
        received_at=dt.datetime.fromtimestamp(int(stamp) / 1e9 if is_ours else path.stat().st_mtime, dt.UTC),
        size=path.stat().st_size,
        sender=preview.decode_part(headers.get("From", "")),
        to=preview.decode_part(headers.get("To", "")),
        subject=preview.decode_part(headers.get("Subject", "")),
        mail_id=parse_mail_id(str(headers.get("X-Mercury-ID", ""))),
    )


def parse_mail_id(text: str) -> str:
    """Return the id in X-Mercury-ID; empty if it is not an id."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return ""
