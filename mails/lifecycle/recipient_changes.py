"""Changes of the recipients of an email that is reprocessed: who is replaced, left out, or sent it once more. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from mails.message.message import Mailbox, Message
from mails.states import RecipientState


class HasState(Protocol):
    """A recipient as it is stored."""

    @property
    def address(self) -> str: ...  # noqa: D102

    @property
    def state(self) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeError:
    """What is wrong with a change: its field, the address that it names, a stable code, and a sentence."""

    field: str
    address: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientChanges:
    """What to change. `again`: recipients that a provider has accepted the email for, and that get it once more."""

    replaced: tuple[tuple[str, Mailbox], ...] = ()
    dropped: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Return True if there is anything to change."""
        return bool(self.replaced or self.dropped or self.again)

    @property
    def deliveries(self) -> int:
        """Return how many recipients get the email that would not get it without the changes."""
        return len(self.replaced) + len(self.again)

    @property
    def replacements(self) -> Mapping[str, Mailbox]:
        """Return the new mailboxes by the addresses that they replace."""
        return dict(self.replaced)

    def to_blob(self) -> dict[str, Any]:
        """Return the changes as an event records them, the old addresses too; empty if there are none."""
        blob = {
            "replaced": [{"old": old, "new": new.address} for old, new in self.replaced],
            "dropped": list(self.dropped),
            "again": list(self.again),
        }
        return {name: value for name, value in blob.items() if value}

    def change(self, message: Message) -> Message:
        """Return the message with the recipients changed, each in its place."""
        new = self.replacements
        kept = (recipient for recipient in message.recipients if recipient.address not in self.dropped)
        return replace(
            message,
            recipients=tuple(
                replace(recipient, address=found.address, name=found.name)
                if (found := new.get(recipient.address))
                else recipient
                for recipient in kept
            ),
        )

    def find_errors(self, recipients: Sequence[HasState], *, reopened: bool) -> list[ChangeError]:
        """Return what is wrong with the changes for these recipients. `reopened`: refused ones get the email again anyway."""
        states = {recipient.address: recipient.state for recipient in recipients}
        errors = [*self._check_old(states), *self._check_new(states)]
        open_states = {
            RecipientState.PENDING,
            RecipientState.SUPPRESSED,
            *([RecipientState.REFUSED] if reopened else []),
        }
        left = [address for address, state in states.items() if state in open_states and address not in self.dropped]
        if not errors and not left and not self.deliveries:
            words = "Nobody is left to send the email to. Cancel it instead."
            errors.append(ChangeError(field="drop", address="", code="required", detail=words))
        return errors

    def _check_old(self, states: Mapping[str, str]) -> Iterator[ChangeError]:
        named = [("replace", old) for old, _ in self.replaced] + [("drop", old) for old in self.dropped]
        seen: set[str] = set()
        for field, address in [*named, *(("again", address) for address in self.again)]:
            state = states.get(address)
            if problem := _explain(field, state, is_repeated=address in seen):
                code, words = problem
                yield ChangeError(field=field, address=address, code=code, detail=words.format(address))
            seen.add(address)

    def _check_new(self, states: Mapping[str, str]) -> Iterator[ChangeError]:
        kept = states.keys() - self.replacements.keys() - set(self.dropped)
        for old, new in self.replaced:
            if new.address in kept:
                words = f"'{new.address}' is a recipient of this email already."
                yield ChangeError(field="replace", address=old, code="duplicate", detail=words)
            kept.add(new.address)


NO_CHANGES = RecipientChanges()
_ACCEPTED = "A provider accepted the email for '{}', so this address is neither replaced nor dropped. Send a copy to another one."


def _explain(field: str, state: str | None, *, is_repeated: bool) -> tuple[str, str] | None:
    """Return code and words of what is wrong with naming a recipient of this state; None if it is right."""
    if state is None:
        return "unknown_recipient", "'{}' is no recipient of this email."
    if is_repeated:
        return "ambiguous", "'{}' is named twice; name it once, in 'replace', 'drop' or 'again'."
    is_accepted = state == RecipientState.ACCEPTED
    if field == "again":
        return None if is_accepted else ("not_accepted", "'{}' was not accepted, so it gets the email anyway.")
    return ("already_accepted", _ACCEPTED) if is_accepted else None


def list_names(recipients: Iterable[HasState], state: RecipientState) -> list[str]:
    """Return the addresses of the recipients in this state."""
    return [recipient.address for recipient in recipients if recipient.state == state]
