"""What a call of a provider can come to. `sending.send` returns one of these, and nothing else."""

from dataclasses import dataclass, field

from django.db.models import TextChoices


class FailureClass(TextChoices):
    """Whose fault a refusal is. Only PROVIDER faults open a breaker, and only MESSAGE faults end an email at once."""

    MESSAGE = "message", "Fault of the message"  # bad recipient, unsupported option: nobody would take it
    ACCOUNT = "account", "Fault of the account"  # 401, 402, 403, quota: another account may take it
    RECIPIENT = "recipient", "One mailbox, for now"  # full, greylisted: the server is well, and so is the email
    RATE = "rate", "Rate limit"  # 429: the same account will take it later
    PROVIDER = "provider", "Fault of the provider"  # 5xx, network
    LOCAL = "local", "Trouble of this machine"  # no descriptors, no memory, no network: says nothing of any account


@dataclass(frozen=True, slots=True)
class RecipientRefusal:
    """One recipient that the provider would not take while it took others."""

    address: str
    reason: str  # cleaned and cut, safe to store
    permanent: bool  # False: try this one again, with another account
    fault: FailureClass = FailureClass.RECIPIENT  # MESSAGE where it is permanent
    next_call: bool = False  # nothing is wrong with it: this call had enough recipients, it goes into a further call


@dataclass(frozen=True, slots=True)
class Accepted:
    """The provider documents this answer as "taken", in status and body."""

    provider_message_id: str  # empty where the provider gives none
    status_code: int  # HTTP status or SMTP reply code
    refused: tuple[RecipientRefusal, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """Surely not sent."""

    fault: FailureClass
    reason_code: str  # stable and short, for grouping: "http-503", "connect-timeout", "smtp-550"
    reason: str  # for people: the provider's words, cleaned and cut to 2 KB
    status_code: int | None = None
    retry_after: float | None = None  # seconds, where the provider asks for a wait, whatever its answer
    refused: tuple[RecipientRefusal, ...] = field(default=())  # where each recipient got an answer of its own
    asked: bool = True  # False: it never came to a call, so it says nothing of the provider's health
    at_capacity: bool = False  # the account takes no more calls at once; nothing else is wrong
    calls_at_once: int = 0  # with at_capacity: the connections that it had taken by then, 0 where that is not known


@dataclass(frozen=True, slots=True)
class Unknown:
    """May have been sent, may not: read time-out, connection lost after the request went out, 500."""

    reason_code: str
    reason: str
    status_code: int | None = None
    retry_after: float | None = None  # seconds, where the provider asks for a wait


Outcome = Accepted | Refused | Unknown
