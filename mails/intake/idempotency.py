"""Idempotency keys: the same key of the same client, with the same body, gets the first email again for 24 hours."""

import datetime as dt
import hashlib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any

import orjson

from mails.intake.attachment_fields import GivenFile
from mails.intake.receipts import Receipt, RefusalReason, Refused, Stored
from mails.intake.submission import ValidSubmission
from mails.lifecycle.values import NewMail
from mails.models import IdempotencyKey, Mail
from mails.states import IDEMPOTENCY_KEYS_KEPT

MAX_LENGTH = 255
READ_TOGETHER = 1000  # keys; a database has a limit on the parameters of a statement
_PRINTABLE = re.compile(r"[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?")
_REUSED = Refused(
    reason=RefusalReason.KEY_REUSED,
    detail="This Idempotency-Key was already used with a different body. Use a new key for a new email.",
)
_IN_USE = Refused(
    reason=RefusalReason.KEY_IN_USE,
    detail="A request with this Idempotency-Key is still running. Retry in a second.",
    retry_after=1,
)


def explain_invalid(key: str) -> str:
    """Return what is wrong with a key and how to correct it; empty if it is well formed."""
    if len(key) <= MAX_LENGTH and _PRINTABLE.fullmatch(key):
        return ""
    problem = "invalid" if key.strip() else "blank"
    return f"It is {problem}. Use 1 to {MAX_LENGTH} printable ASCII characters, or omit it."


def build_key(key: str, submission: ValidSubmission, *, owner: str, mail: Mail) -> IdempotencyKey:
    """Return the row that ties the key to this email, its body, and the email that it is a copy of."""
    return IdempotencyKey(
        owner=owner,
        key=key,
        body_hash=_hash_body(submission, copy_of=mail.copy_of),
        mail_id=mail.id,
        created_at=mail.created_at,
    )


class EarlierBodies:
    """The bodies that one client's keys were used with before. Those of all its submissions are read when the first is needed."""

    def __init__(self, owner: str, keys: Iterable[str | None], now: dt.datetime) -> None:
        """`keys`: of all submissions, as they were given."""
        self._owner, self._keys, self._since = owner, keys, now - IDEMPOTENCY_KEYS_KEPT
        self._hashes: dict[str, str] = {}  # empty for a key that was not used

    def has(self, key: str, submission: ValidSubmission) -> bool:
        """Return True if this submission with this key was accepted before. One query for a thousand new keys."""
        if key not in self._hashes:
            self._load({key, *(other for other in self._keys if other is not None and not explain_invalid(other))})
        return self._hashes[key] == _hash_body(submission)

    def _load(self, keys: set[str]) -> None:
        self._hashes = dict.fromkeys(keys, "")
        listed = sorted(keys)
        rows = IdempotencyKey.objects.filter(owner=self._owner, created_at__gt=self._since)
        for start in range(0, len(listed), READ_TOGETHER):
            found = rows.filter(key__in=listed[start : start + READ_TOGETHER])
            self._hashes |= dict(found.values_list("key", "body_hash"))


def answer_again(left_out: Sequence[NewMail]) -> dict[uuid.UUID, Receipt]:
    """Return the receipts of emails that were not stored because their keys are in use; one query for all of them.

    Call it in the transaction that left them out: it sees what that has stored.
    """
    keys = [(new, new.key) for new in left_out if new.key is not None]
    if not keys:
        return {}
    owners, names = {key.owner for _, key in keys}, {key.key for _, key in keys}
    rows = IdempotencyKey.objects.filter(owner__in=owners, key__in=names).select_related("mail")
    first = {(row.owner, row.key): row for row in rows}
    return {new.mail.id: _answer(key, first.get((key.owner, key.key)), new.message.text) for new, key in keys}


def _answer(key: IdempotencyKey, first: IdempotencyKey | None, text: str) -> Receipt:
    """Return the receipt of a submission with this key. `first`: the row that has the key; None if it is not committed.

    `text`: of the submission; the same key means the same body.
    """
    if first is None or key.created_at - first.created_at >= IDEMPOTENCY_KEYS_KEPT:  # another transaction takes it over
        return _IN_USE
    return Stored(mail=first.mail, text=text, replayed=True) if first.body_hash == key.body_hash else _REUSED


def _hash_body(submission: ValidSubmission, *, copy_of: uuid.UUID | None = None) -> str:
    """Hash a body: the same for each that means the same email, whatever the order of its fields.

    What is absent or empty does not count. So an email has the same hash in a Mercury that knows more fields.
    """
    meant = {**submission.values, "delivery_guarantee": submission.delivery_guarantee, "copy_of": copy_of}
    return hashlib.sha256(orjson.dumps(_leave_out_empty(meant), option=_OPTIONS, default=_to_json)).hexdigest()


_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_PASSTHROUGH_DATACLASS


def _to_json(value: Any) -> Any:
    if isinstance(value, GivenFile):
        return _leave_out_empty(value.identity)
    if is_dataclass(value) and not isinstance(value, type):
        return _leave_out_empty({name: getattr(value, name) for name in _list_fields(type(value))})
    raise TypeError


@lru_cache(maxsize=64)
def _list_fields(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _leave_out_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "", (), [], {})}
