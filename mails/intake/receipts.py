"""Receipts: what became of a submission. A refusal is a receipt, too; an exception means that nothing was stored.

Receipt
├── Stored      the email, stored now or by an earlier request with the same idempotency key
├── Refused     a rule forbids it; `reason` says which, `errors` names each field
└── NotStored   the rules allow it, but the database refuses this one email: a fault of Mercury
"""

import uuid
from dataclasses import dataclass
from enum import StrEnum

from django.db import Error

from mails.access.key_limits import LimitStatus
from mails.models import Mail
from mercury.lib.value import value

IDEMPOTENCY_KEY = "Idempotency-Key"  # where an error is about the key


class RefusalReason(StrEnum):
    """Why a submission is refused. The value is the stable code of the answer."""

    INVALID_MAIL = "invalid_mail"  # fields break their rules
    SENDER_NOT_ALLOWED = "sender_not_allowed"  # the client may not send as this address
    INVALID_KEY = "invalid_idempotency_key"  # the idempotency key is empty, too long, or not printable ASCII
    KEY_REUSED = "idempotency_key_reused"  # the key was used with another body
    KEY_IN_USE = "idempotency_key_in_use"  # a request with this key is still running
    LIMIT_REACHED = "limit_reached"  # the API key has used up its emails of this minute or its recipients of this day
    ABOVE_LIMIT = "above_limit"  # the email alone has more recipients than the API key may use in a day

    @property
    def status(self) -> int:
        """Return the HTTP status of the answer."""
        return _STATUSES[self]


_STATUSES = {
    RefusalReason.INVALID_MAIL: 400,
    RefusalReason.SENDER_NOT_ALLOWED: 403,
    RefusalReason.INVALID_KEY: 400,
    RefusalReason.KEY_REUSED: 422,
    RefusalReason.KEY_IN_USE: 409,
    RefusalReason.LIMIT_REACHED: 429,
    RefusalReason.ABOVE_LIMIT: 413,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidField:
    """One error of a submission: the field, a stable code, and what is wrong and how to correct it.

    `path`: the part of the field that is wrong, such as the index of an item; empty for the whole.
    """

    field: str
    code: str
    detail: str
    path: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Return field and path for people: `cc/3/email`."""
        return "/".join((self.field, *self.path))


@value
class Stored:
    """A stored email. `replayed`: an earlier request, or submission, with the same idempotency key stored it.

    `limits`: those of the API key, once it and those stored with it are counted.
    """

    mail: Mail
    text: str = ""  # its body as plain text: as given, or derived from the HTML
    replayed: bool = False
    limits: tuple[LimitStatus, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A submission that is not accepted. `mail_id`: the rejected email, where it is kept.

    `limits`: those of the API key. `retry_after`: seconds after which it may be accepted, where time alone helps.
    """

    reason: RefusalReason
    detail: str
    errors: tuple[InvalidField, ...] = ()
    mail_id: uuid.UUID | None = None
    limits: tuple[LimitStatus, ...] = ()
    retry_after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStored:
    """An email that the database refuses, whatever else is stored with it."""

    error: Error


Receipt = Stored | Refused | NotStored
