"""What the sandbox took, as Maildirs in the data folder, so that any mail reader opens them. Bounded."""

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
_HEADERS_READ = 64 * 1024  # bytes of a mail's beginning
_PRUNE_EVERY = 20  # counting the folder at each mail would cost more than writing the mail


class KeptMailNotFound(Exception):
    """The mailbox holds no mail with that key (any more)."""


@dataclass(frozen=True, slots=True)
class KeptMail:
    """One mail in a mailbox, as a list shows it."""

    key: str
    received_at: dt.datetime
    size: int
    sender: str
    to: str
    subject: str
    mail_id: str  # X-Mercury-ID, empty where it is none of Mercury's ids

    def fits(self, words: Iterable[str]) -> bool:
        """Whether each word, in lower case, is somewhere in its addresses, its subject or the id of its mail."""
        shown = f"{self.to}\n{self.sender}\n{self.subject}\n{self.mail_id}".lower()
        return all(word in shown for word in words)


@dataclass(frozen=True, slots=True)
class MailboxPage:
    """One page of a mailbox, newest first. `newer` and `older` are where the neighbouring pages begin, empty at the ends."""

    mails: list[KeptMail]
    newer: str
    older: str


def get_folder(account: str) -> Path:
    """Where the account's Maildir lies."""
    if not re.fullmatch(r"[a-z0-9-]+", account):
        raise ValueError(f"'{account}' is not the name of an account.")
    return Path(settings.MERCURY_DATA) / "sandbox" / account


def store(account: str, content: bytes) -> str:
    """Write a mail and return its key. Once this returns, `messages` shows it.

    Every so often the oldest beyond MERCURY_SANDBOX_KEEP are removed; a few more than that may exist in between.
    """
    count = next(_written)
    key = f"{time.time_ns()}.P{os.getpid()}Q{count}.{_HOST}"
    home = get_folder(account)
    if not (home / "new").is_dir():  # the last one made: other threads and processes may be making them too
        for part in ("tmp", "cur", "new"):
            private_files.make_folder(home / part)
    private_files.write(home / "tmp" / key, content)
    (home / "tmp" / key).rename(home / "new" / key)
    if count % _PRUNE_EVERY == 0:
        prune(account)
    return key


def list_messages(account: str, *, limit: int = 100) -> list[KeptMail]:
    """The newest mails, newest first. Reads the headers of at most `limit` files."""
    return load_page(account, size=limit).mails


def load_page(account: str, *, words: str = "", before: str = "", after: str = "", size: int = 50) -> MailboxPage:
    """The mails that `words` fit, older than the one with the key `before`, or newer than `after`; else the newest.

    Reads the headers of as many files as it takes to fill the page: of all of them where few mails fit.
    """
    paths, wanted = _newest_first(account), words.lower().split()
    if after:
        found = list(itertools.islice(_fitting((one for one in paths[::-1] if _key(one) > after), wanted), size + 1))
        mails = found[:size][::-1]
        return MailboxPage(mails, mails[0].key if len(found) > size else "", mails[-1].key if mails else "")
    found = list(
        itertools.islice(_fitting((one for one in paths if not before or _key(one) < before), wanted), size + 1)
    )
    mails = found[:size]
    return MailboxPage(mails, mails[0].key if before and mails else "", mails[-1].key if len(found) > size else "")


def _fitting(paths: Iterable[Path], words: list[str]) -> Iterator[KeptMail]:
    for path in paths:
        try:
            mail = _summary(path)
        except FileNotFoundError:  # pruned, or moved by a mail reader, since the folder was listed
            continue
        if mail.fits(words):
            yield mail


def count_messages(account: str) -> int:
    """How many mails the mailbox holds."""
    return len(_newest_first(account))


def read_source(account: str, key: str) -> bytes:
    """One mail as it was taken. Raises NoSuchMail."""
    try:
        return _path(account, key).read_bytes()
    except FileNotFoundError:
        raise _missing(account, key) from None


def get_size(account: str, key: str) -> int:
    """Return the bytes of one mail. Raises NoSuchMail."""
    try:
        return _path(account, key).stat().st_size
    except FileNotFoundError:
        raise _missing(account, key) from None


def _path(account: str, key: str) -> Path:
    path = next((path for path in _newest_first(account) if _key(path) == key), None)
    if path is None:
        raise _missing(account, key)
    return path


def _missing(account: str, key: str) -> KeptMailNotFound:
    return KeptMailNotFound(f"The sandbox '{account}' holds no mail '{key}'. It keeps the newest only.")


def clear(account: str) -> int:
    """Remove every mail of the account and return how many there were."""
    paths = _newest_first(account)
    _remove(paths)
    return len(paths)


def prune(account: str) -> None:
    """Remove the oldest mails beyond MERCURY_SANDBOX_KEEP."""
    _remove(_newest_first(account)[settings.MERCURY_SANDBOX_KEEP :])


def _newest_first(account: str) -> list[Path]:
    home = get_folder(account)
    paths = [path for part in ("new", "cur") if (home / part).is_dir() for path in (home / part).iterdir()]
    return sorted(paths, key=lambda path: path.name, reverse=True)


def _remove(paths: list[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _key(path: Path) -> str:
    """The file's name without the flags that a mail reader adds when it moves a mail to `cur`."""
    return path.name.partition(":")[0]


def _summary(path: Path) -> KeptMail:
    with path.open("rb") as file:
        headers = email.message_from_bytes(file.read(_HEADERS_READ), policy=email.policy.compat32)
    stamp = path.name.partition(".")[0]
    ours = re.fullmatch(r"[0-9]{19}", stamp)  # nanoseconds; other programs put mails here too
    return KeptMail(
        key=_key(path),
        received_at=dt.datetime.fromtimestamp(int(stamp) / 1e9 if ours else path.stat().st_mtime, dt.UTC),
        size=path.stat().st_size,
        sender=preview.decoded(headers.get("From", "")),
        to=preview.decoded(headers.get("To", "")),
        subject=preview.decoded(headers.get("Subject", "")),
        mail_id=parse_mail_id(str(headers.get("X-Mercury-ID", ""))),
    )


def parse_mail_id(text: str) -> str:
    """The id that X-Mercury-ID names; empty if it names none."""
    try:
        return str(uuid.UUID(text))
    except ValueError:
        return ""
