"""What the sandbox took, as Maildirs in the data folder, so that any mail reader opens them. Bounded."""

import datetime as dt
import email
import email.policy
import itertools
import os
import re
import socket
import time
from dataclasses import dataclass
from email.message import EmailMessage as ParsedMail
from pathlib import Path

from django.conf import settings

_written = itertools.count()
_HOST = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname()) or "localhost"
_PRUNE_EVERY = 20  # counting the folder at each mail would cost more than writing the mail


class NoSuchMail(Exception):
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
    mail_id: str  # X-Mercury-ID, empty where the mail did not come from Mercury's mails


def folder(account: str) -> Path:
    """Where the account's Maildir lies."""
    if not re.fullmatch(r"[a-z0-9-]+", account):
        raise ValueError(f"'{account}' is not the name of an account.")
    return Path(settings.MERCURY_DATA) / "sandbox" / account


def keep(account: str, content: bytes) -> str:
    """Write a mail and return its key. Once this returns, `messages` shows it.

    Every so often the oldest beyond MERCURY_SANDBOX_KEEP are removed; a few more than that may exist in between.
    """
    count = next(_written)
    key = f"{time.time_ns()}.P{os.getpid()}Q{count}.{_HOST}"
    home = folder(account)
    try:
        (home / "tmp" / key).write_bytes(content)
    except FileNotFoundError:
        for part in ("tmp", "new", "cur"):
            (home / part).mkdir(parents=True, exist_ok=True)
        (home / "tmp" / key).write_bytes(content)
    (home / "tmp" / key).rename(home / "new" / key)
    if count % _PRUNE_EVERY == 0:
        prune(account)
    return key


def messages(account: str, *, limit: int = 100) -> list[KeptMail]:
    """The newest mails, newest first. Reads the headers of at most `limit` files."""
    found = []
    for path in _newest_first(account)[:limit]:
        try:
            found.append(_summary(path))
        except FileNotFoundError:  # pruned, or moved by a mail reader, since the folder was listed
            continue
    return found


def count(account: str) -> int:
    """How many mails the mailbox holds."""
    return len(_newest_first(account))


def read(account: str, key: str) -> ParsedMail:
    """One mail, parsed. Raises NoSuchMail."""
    return email.message_from_bytes(source(account, key), policy=email.policy.default)


def source(account: str, key: str) -> bytes:
    """One mail as it was taken. Raises NoSuchMail."""
    for path in _newest_first(account):
        if _key(path) == key:
            try:
                return path.read_bytes()
            except FileNotFoundError:
                break
    raise NoSuchMail(f"The sandbox '{account}' holds no mail '{key}'. It keeps the newest only.")


def clear(account: str) -> int:
    """Remove every mail of the account and return how many there were."""
    paths = _newest_first(account)
    _remove(paths)
    return len(paths)


def prune(account: str) -> None:
    """Remove the oldest mails beyond MERCURY_SANDBOX_KEEP."""
    _remove(_newest_first(account)[settings.MERCURY_SANDBOX_KEEP :])


def _newest_first(account: str) -> list[Path]:
    home = folder(account)
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
        headers = email.message_from_bytes(file.read(64 * 1024), policy=email.policy.default)
    stamp = path.name.partition(".")[0]
    return KeptMail(
        key=_key(path),
        received_at=dt.datetime.fromtimestamp(int(stamp) / 1e9 if stamp.isdigit() else path.stat().st_mtime, dt.UTC),
        size=path.stat().st_size,
        sender=str(headers.get("From", "")),
        to=str(headers.get("To", "")),
        subject=str(headers.get("Subject", "")),
        mail_id=str(headers.get("X-Mercury-ID", "")),
    )
