"""The outcomes of one attempt. `transports.sender.Sender.send` returns one of these, and nothing else."""

from dataclasses import dataclass, field
from enum import Enum

from django.db.models import TextChoices


class FailureClass(TextChoices):
    """Cause of a refusal. Only PROVIDER failures open a breaker, and only MESSAGE failures end an email at once."""

    MESSAGE = "message", "Message error"  # bad recipient, unsupported option: no account would accept it
    ACCOUNT = "account", "Account error"  # 401, 402, 403, quota: another account may accept it
    RECIPIENT = "recipient", "Mailbox unavailable"  # full, greylisted: server and email are fine
    RATE = "rate", "Rate limit"  # 429: the same account will accept it later
    PROVIDER = "provider", "Provider error"  # 5xx, network
    LOCAL = "local", "Error of this machine"  # no descriptors, no memory, no network: not about any account


class QuotaPeriod(Enum):
    """The period of a quota that a provider says is used up."""

    DAY = "day"
    MONTH = "month"
    UNKNOWN = "unknown"  # no period is named, or it is credit that somebody has to buy


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedUpQuota:
    """A provider's own answer that a quota is used up. `resets_in`: seconds, if the answer says when it is free again."""

    period: QuotaPeriod
    resets_in: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientRefusal:
    """One recipient that the provider refused while it accepted others."""

    address: str
    reason: str  # redacted and cut, safe to store
    permanent: bool  # False: try this one again, with another account
    failure_class: FailureClass = FailureClass.RECIPIENT  # MESSAGE if it is permanent
    next_call: bool = False  # it is fine, but this call had enough recipients: it goes into a further call


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """The provider documents this answer as accepted, in status and body."""

    provider_message_id: str  # empty if the provider gives none
    status_code: int  # HTTP status or SMTP reply code
    refused: tuple[RecipientRefusal, ...] = ()
    is_first_request: bool = (
        True  # False: an earlier request of the same attempt was refused because of some recipients
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Surely not sent: the provider refused it, or could not be reached."""

    failure_class: FailureClass
    reason_code: str  # stable and short, for grouping: "http-503", "connect-timeout", "smtp-550"
    reason: str  # for people: the provider's words, redacted and cut to 2 KB
    status_code: int | None = None
    retry_after: float | None = None  # seconds, if the provider asks for a wait
    refused: tuple[RecipientRefusal, ...] = field(default=())  # if each recipient got its own answer
    at_capacity: bool = False  # the account accepts no more concurrent calls; nothing else is wrong
    calls_at_once: int = 0  # with at_capacity: its connections at that time, 0 if unknown
    used_up: UsedUpQuota | None = None  # the account gets no more calls until that quota is free again
    repeat_in: float | None = (
        None  # seconds; it is still busy with an earlier request that had the same idempotency key
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It may have been sent or not: read timeout, connection lost after the request, 500."""

    reason_code: str
    reason: str
    status_code: int | None = None
    retry_after: float | None = None  # seconds, if the provider asks for a wait
    is_first_request: bool = True  # as `Accepted` has it


class Cause(Enum):
    """What kept Mercury from asking the provider. The dispatcher decides by it where the email goes."""

    WORKER = "worker"  # this worker returns it: no slot, no certain lease; due again at once
    MACHINE = "machine"  # trouble of this machine: no descriptors, no memory, no network; due again after a wait
    EMAIL = "email"  # Mercury itself fails at the email: held
    FILE = "file"  # the content of an attachment is gone: held
    STORAGE = "storage"  # the storage of attachments does not answer; due again after a wait
    MESSAGE = "message"  # this account's API cannot carry the message: on to the next account
    ACCOUNT = "account"  # its options cannot be used: on to the next account
    CAPACITY = "capacity"  # the account takes no more now, all its connections stayed in use: on to the next account


_FAILURE_CLASSES = {
    Cause.WORKER: FailureClass.RATE,  # transient, and no account's failure
    Cause.MACHINE: FailureClass.LOCAL,
    Cause.EMAIL: FailureClass.RATE,
    Cause.FILE: FailureClass.RATE,
    Cause.STORAGE: FailureClass.LOCAL,
    Cause.MESSAGE: FailureClass.MESSAGE,
    Cause.ACCOUNT: FailureClass.ACCOUNT,
    Cause.CAPACITY: FailureClass.RATE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NotAttempted:
    """Surely not sent, because the provider was not asked: no news of its health, nor of what it says to the email."""

    cause: Cause
    reason_code: str
    reason: str

    @property
    def failure_class(self) -> FailureClass:
        """Return the failure class that its attempt is stored with."""
        return _FAILURE_CLASSES[self.cause]


Outcome = Accepted | Refused | Unknown | NotAttempted
