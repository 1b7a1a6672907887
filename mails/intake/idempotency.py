"""Idempotency keys: the same key of the same client, with the same body, gets the first email again for 24 hours."""

import datetime as dt
import hashlib
import json
import re

from mails.intake.errors import IdempotencyKeyReused, InvalidIdempotencyKey
from mails.intake.submission import QUEUES, Submission
from mails.models import IdempotencyKey, Mail
from mails.states import IDEMPOTENCY_KEYS_KEPT

MAX_LENGTH = 255
_PRINTABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")


def check_key(key: str) -> None:
    """Raise InvalidIdempotencyKey for a malformed key."""
    if len(key) > MAX_LENGTH or not _PRINTABLE.fullmatch(key):
        problem = "blank" if not key.strip() else "invalid"
        raise InvalidIdempotencyKey(
            f"Idempotency-Key: It is {problem}. Use 1 to {MAX_LENGTH} printable ASCII characters, or omit it."
        )


def build_key(key: str, submission: Submission, *, owner: str, mail: Mail) -> IdempotencyKey:
    """Return the row that ties the key to this email and its body."""
    return IdempotencyKey(
        owner=owner, key=key, body_hash=_hash_body(submission), mail_id=mail.id, created_at=mail.created_at
    )


def find_earlier_mail(key: IdempotencyKey) -> Mail | None:
    """Return the email that was stored with this key; delete a row that has expired. Raises IdempotencyKeyReused."""
    row = next(iter(IdempotencyKey.objects.filter(owner=key.owner, key=key.key)), None)
    if row is None:
        return None
    if _has_expired(row, key.created_at):
        row.delete()
        return None
    if row.body_hash != key.body_hash:
        raise IdempotencyKeyReused(
            "This Idempotency-Key was already used with a different body. Use a new key for a new email."
        )
    return row.mail


def _has_expired(row: IdempotencyKey, now: dt.datetime) -> bool:
    return now - row.created_at >= IDEMPOTENCY_KEYS_KEPT


def _hash_body(submission: Submission) -> str:
    """Hash a body: the same for each that means the same email, whatever the order of its fields.

    A queue counts only if it was asked for: without one the hash is that of a Mercury which did not know the field.
    """
    meant = [
        submission.sender,
        submission.recipients,
        submission.subject,
        submission.text,
        submission.delivery_guarantee,
    ]
    if submission.queue in QUEUES:
        meant.append(submission.queue)
    return hashlib.sha256(json.dumps(meant).encode()).hexdigest()
