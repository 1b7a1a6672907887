"""The values that a change of an email is made of: its state, its events, its attempt, its recipients. No SQL."""

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any, NamedTuple

from mails.message.message import Message
from mails.models import ApiKey, IdempotencyKey, Mail
from mails.states import LEASED, TRANSITIONS, AttemptState, RecipientState, Status
from mercury.lib.database import recordset
from mercury.lib.database.recordset import as_json, as_time, as_uuid
from mercury.lib.value import value


class IllegalTransition(Exception):
    """A step would move an email to a state that may not follow: a bug in Mercury, never bad input."""


@value
class EventDraft:
    """An event about to be recorded. `at_ns`: nanoseconds since the Unix epoch, by the database's clock."""

    event: str
    by: str
    at_ns: int
    blob: Mapping[str, Any] = field(default_factory=dict)


class MailState(NamedTuple):
    """The columns of `Mail` that change during its life; the rest is written once, at intake.

    A named tuple, since four are made for each email: a frozen dataclass takes five times as long to copy.
    """

    status: Status
    next_attempt_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    round: int = 1
    tried: tuple[str, ...] = ()
    failure_classes: tuple[str, ...] = ()
    attempt_count: int = 0
    possible_duplicate: bool = False
    failure_class: str = ""
    reason_code: str = ""
    provider: str = ""
    lease: uuid.UUID | None = None
    lease_expires_at: dt.datetime | None = None
    worker: str = ""
    claims: int = 0


STATE_COLUMNS = recordset.list_columns(Mail, MailState._fields)


def parse_state(values: Sequence[Any]) -> MailState:
    """Return the state in the values of STATE_COLUMNS, in their order, as a statement of our own returned them."""
    raw = MailState._make(values)
    return raw._replace(
        status=Status(raw.status),
        next_attempt_at=raw.next_attempt_at and as_time(raw.next_attempt_at),
        finished_at=raw.finished_at and as_time(raw.finished_at),
        tried=tuple(as_json(raw.tried)),
        failure_classes=tuple(as_json(raw.failure_classes)),
        possible_duplicate=bool(raw.possible_duplicate),
        lease=raw.lease and as_uuid(raw.lease),
        lease_expires_at=raw.lease_expires_at and as_time(raw.lease_expires_at),
    )


def read_state(mail: Mail) -> MailState:
    """Return the state of an email that was loaded."""
    return parse_state([getattr(mail, name) for name in STATE_COLUMNS])


_RELEASED: dict[str, Any] = {"lease": None, "lease_expires_at": None, "worker": "", "next_attempt_at": None}


def release_lease(state: MailState, status: Status, **changes: Any) -> MailState:
    """Return the state of an email that no worker has claimed any more. `claims` stay counted until a call is closed."""
    return state._replace(status=status, **_RELEASED | changes)


@value
class AttemptOpened:
    """A provider call about to be made; committed before the provider hears of it."""

    id: uuid.UUID
    number: int
    account: str
    lease: uuid.UUID
    opened_at: dt.datetime
    account_version: dt.datetime | None = None  # of the account's row, as it was chosen; None: whatever it is now
    key_scope: str = ""  # as `Attempt` has it

    @property
    def actor(self) -> str:
        """Return who records its call and the result: the account, and the attempt."""
        return f"{self.account}:{self.id!s}"  # without `!s`, formatting a UUID takes twice as long


class AttemptClosed(NamedTuple):
    """Outcome of one provider call. A named tuple, since it is copied: one is made for each email."""

    id: uuid.UUID
    state: AttemptState
    closed_at: dt.datetime
    latency_ms: int | None = None
    failure_class: str = ""
    reason_code: str = ""
    reason: str = ""
    status_code: int | None = None
    provider_message_id: str = ""
    key_scope: str = ""  # empty if a repeated request would not be recognized after all
    account: str = ""  # whose call it was, to be counted; empty where it was counted before, or never made


@value
class RecipientOutcome:
    """Outcome for one recipient."""

    id: int
    state: RecipientState
    reason: str = ""


@value
class Step:
    """One change of one email. It happens only while the email is `before`, leased under `fence`, after `attempts` calls.

    The number of attempts is part of the fence: an email handed from one account to the next keeps its state and lease.
    So is the pending action: a request that arrives in between is not overlooked. No step leads to SENDING while all
    sending or the email's queue is paused, none to SENDING through an account that was changed, disabled or deleted since
    it was selected, and none to SENDING or QUEUED without a body: the email would be sent empty.
    """

    mail_id: uuid.UUID
    before: Status
    fence: uuid.UUID | None  # the lease's token; None: no worker has claimed the email
    after: MailState
    events: tuple[EventDraft, ...] = ()
    closed: AttemptClosed | None = None
    opened: AttemptOpened | None = None
    recipients: tuple[RecipientOutcome, ...] = ()
    attempts: int = 0
    pending_action: str = ""  # as `Mail.pending_action` has it: a step that names it consumes it, any other one fails

    def check(self) -> None:
        """Raise IllegalTransition if `after` may not follow `before`, or a lease and the state do not agree."""
        if self.after.status not in TRANSITIONS[self.before]:
            raise IllegalTransition(f"{self.before} may not become {self.after.status} (email {self.mail_id})")
        if (self.after.lease is not None) != (self.after.status in LEASED):
            raise IllegalTransition(f"{self.after.status} and a lease do not agree (email {self.mail_id})")


@value
class NewMail:
    """An email to be stored, with its first events. `mail` is unsaved and complete but for its state; `key` is unsaved.

    `mail` has `message.columns`. `limited_by`: the key whose limits it counts towards; None: no limit. `copied`: an
    event of the email that it is a copy of. `suppressed`: why some of its recipients, by address, get no email.
    """

    mail: Mail
    message: Message
    state: MailState
    events: tuple[EventDraft, ...]
    key: IdempotencyKey | None = None
    limited_by: ApiKey | None = None
    copied: EventDraft | None = None
    suppressed: Mapping[str, str] = field(default_factory=dict)


LateResult = tuple[uuid.UUID, AttemptClosed | None, EventDraft]
