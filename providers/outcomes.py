"""The outcomes of one attempt. `transports.sender.Sender.send` returns one of these, and nothing else."""

from dataclasses import dataclass, field

from django.db.models import TextChoices


class FailureClass(TextChoices):
    """Cause of a refusal. Only PROVIDER failures open a breaker, and only MESSAGE failures end an email at once."""

    MESSAGE = "message", "Message error"  # bad recipient, unsupported option: no account would accept it
    ACCOUNT = "account", "Account error"  # 401, 402, 403, quota: another account may accept it
    RECIPIENT = "recipient", "Mailbox unavailable"  # full, greylisted: server and email are fine
    RATE = "rate", "Rate limit"  # 429: the same account will accept it later
    PROVIDER = "provider", "Provider error"  # 5xx, network
    LOCAL = "local", "Error of this machine"  # no descriptors, no memory, no network: not about any account


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Surely not sent."""

    failure_class: FailureClass
    reason_code: str  # stable and short, for grouping: "http-503", "connect-timeout", "smtp-550"
    reason: str  # for people: the provider's words, redacted and cut to 2 KB
    status_code: int | None = None
    retry_after: float | None = None  # seconds, if the provider asks for a wait
    refused: tuple[RecipientRefusal, ...] = field(default=())  # if each recipient got its own answer
    asked: bool = True  # False: no call was made, so it is not about the provider's health
    at_capacity: bool = False  # the account accepts no more concurrent calls; nothing else is wrong
    calls_at_once: int = 0  # with at_capacity: its connections at that time, 0 if unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It may have been sent or not: read timeout, connection lost after the request, 500."""

    reason_code: str
    reason: str
    status_code: int | None = None
    retry_after: float | None = None  # seconds, if the provider asks for a wait


Outcome = Accepted | Refused | Unknown
