"""Why an email is not accepted.

InvalidSubmission              a field breaks its rule
IntakeError
├── SenderNotAllowed           the client may not send as this address
├── InvalidIdempotencyKey      the key itself is malformed
├── IdempotencyKeyReused       the key was used with another body
└── IdempotencyKeyInUse        a request with this key is still running
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InvalidField:
    """One error of a submission: the field, a stable code, and what is wrong and how to correct it."""

    field: str
    code: str
    detail: str


class InvalidSubmission(Exception):
    """The submission breaks rules; `errors` names each field. `mail_id` is the id of the rejected email, once it is kept."""

    def __init__(self, errors: tuple[InvalidField, ...]) -> None:
        super().__init__("; ".join(f"{error.field}: {error.detail}" for error in errors))
        self.errors = errors
        self.mail_id: str | None = None


class IntakeError(Exception):
    """An email with valid fields that is not accepted."""


class SenderNotAllowed(IntakeError):
    """The client may not send as this address."""

    def __init__(self, sender: str, allowed: list[str]) -> None:
        senders = f"Allowed senders: {', '.join(allowed)}." if allowed else "It has no allowed senders yet."
        super().__init__(
            f"Not allowed to send as {sender}. {senders} An administrator can add senders in the admin: Keys for an application, Users for a person."
        )
        self.sender = sender
        self.allowed = allowed


class InvalidIdempotencyKey(IntakeError):
    """The key is empty, too long, or has characters outside printable ASCII."""


class IdempotencyKeyReused(IntakeError):
    """The key was used with another body."""


class IdempotencyKeyInUse(IntakeError):
    """A request with this key is still running."""
