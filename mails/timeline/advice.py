"""Why an email was not sent, in words for its sender, and what to do next. Pure: rows in, sentences out."""

from collections.abc import Sequence
from dataclasses import dataclass

from mails.models import Attempt, Event, Mail, Recipient
from mails.states import CANNOT_CARRY, SUPPRESSED, AttemptState, EventName, RecipientState, Source, Status
from mails.timeline.event_payload import EventPayload
from mercury.lib.mail.printable import replace_unprintable
from providers.outcomes import FailureClass

ERRORS_SHOWN = 10
_LONGEST_REPLY = 300  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The errors, one sentence each, and the next step."""

    title: str
    errors: Sequence[str]
    next_step: str
    may_copy: bool  # True if sending a corrected copy is the next step


def advise(
    mail: Mail, events: Sequence[Event], attempts: Sequence[Attempt], recipients: Sequence[Recipient]
) -> Advice | None:
    """Return the advice for an email that ended unsent, or was sent to some recipients only; None for any other."""
    match mail.status:
        case Status.REJECTED:
            return _advise_on_rejected(mail, events)
        case Status.DISCARDED:
            return _advise_on_discarded(mail, attempts, recipients)
        case Status.EXPIRED:
            return Advice(
                title="Not sent: no account accepted it before it expired.",
                errors=_list_replies(attempts, recipients),
                next_step="Send it again if it still matters, or ask an operator to reprocess it.",
                may_copy=True,
            )
        case Status.DONE if any(recipient.state == RecipientState.REFUSED for recipient in recipients):
            return Advice(
                title="Sent to some recipients only: some addresses were permanently rejected.",
                errors=_list_refused(recipients),
                next_step="Check these addresses and send a corrected copy to them only; the others have it.",
                may_copy=True,
            )
        case Status.DONE if any(recipient.state == RecipientState.SUPPRESSED for recipient in recipients):
            return Advice(
                title="Sent to some recipients only: some addresses are on the suppression list.",
                errors=_list_refused(recipients),
                next_step="If they may get email again, ask an operator to remove them from the list, then send them a copy.",
                may_copy=True,
            )
    return None


def _advise_on_rejected(mail: Mail, events: Sequence[Event]) -> Advice:
    payloads = [EventPayload(raw=event.blob) for event in events if event.event == EventName.BAD_REQUEST]
    items = [item for payload in payloads for item in payload.get_objects("errors")]
    errors = [f"{item.get_text('field')}: {item.get_text('detail')}" for item in items]
    application = mail.api_key.name if mail.api_key else ""
    sender = "The sender"
    if mail.source == Source.API and application:
        sender = f"The application with the key “{replace_unprintable(application)}”"
    return Advice(
        title="Rejected: it failed validation and was never queued.",
        errors=errors[:ERRORS_SHOWN] or ["No error was recorded."],
        next_step=f"{sender} has to correct this and send the email again; this one is only kept as a record.",
        may_copy=False,
    )


def _advise_on_discarded(mail: Mail, attempts: Sequence[Attempt], recipients: Sequence[Recipient]) -> Advice:
    errors = _list_replies(attempts, recipients)
    if mail.reason_code == SUPPRESSED:
        return Advice(
            title="Not sent: its recipients are on the suppression list.",
            errors=_list_refused(recipients),
            next_step="If they may get email again, ask an operator to remove them from the list and to reprocess the email.",
            may_copy=False,
        )
    if mail.reason_code == CANNOT_CARRY:
        return Advice(
            title="Not sent: no account that it may use can carry it.",
            errors=errors,
            next_step="Send a smaller or simpler email; or ask an operator for an account that can carry it, and to reprocess it.",
            may_copy=True,
        )
    if not attempts:
        reason = replace_unprintable(mail.reason_code)
        return Advice(
            title="Not sent: no account was available.",
            errors=[f"Reason: {reason}." if reason else "No reason was recorded."],
            next_step="Ask an operator which account may send it, and to reprocess it.",
            may_copy=False,
        )
    if mail.failure_class == FailureClass.MESSAGE:
        return Advice(
            title="Not sent: the provider rejected the message itself; the same email would be rejected again.",
            errors=errors,
            next_step="Correct what the reply names (the address, the sender or the content), and send a corrected copy.",
            may_copy=True,
        )
    return Advice(
        title="Not sent: no account accepted it. The message itself was not the problem.",
        errors=errors,
        next_step="The email needs no change. Ask an operator to fix the account and to reprocess the email.",
        may_copy=False,
    )


def _list_replies(attempts: Sequence[Attempt], recipients: Sequence[Recipient]) -> list[str]:
    """Return the last reply of each account, then the replies about single addresses."""
    last = {attempt.account: attempt for attempt in attempts if attempt.state != AttemptState.ACCEPTED}
    replies = [f"{account}: {_describe_reply(attempt)}" for account, attempt in last.items()]
    reasons = {attempt.reason for attempt in last.values() if attempt.reason}
    refused = [line for line in _list_refused(recipients) if not any(reason in line for reason in reasons)]
    return [*replies, *refused][:ERRORS_SHOWN]


def _describe_reply(attempt: Attempt) -> str:
    if attempt.state == AttemptState.OPEN:
        return "no reply yet."
    reason = replace_unprintable(attempt.reason)[:_LONGEST_REPLY].strip()
    code = replace_unprintable(attempt.reason_code)
    if attempt.state == AttemptState.UNKNOWN:
        return f"did not confirm whether it accepted the email ({reason or code})."
    return f"replied “{reason}” ({code})." if reason and reason != code else f"replied {code or 'nothing'}."


def _list_refused(recipients: Sequence[Recipient]) -> list[str]:
    return [
        f"{replace_unprintable(recipient.address)}: "
        f"{replace_unprintable(recipient.reason)[:_LONGEST_REPLY] or 'permanently rejected'}"
        for recipient in recipients
        if recipient.state in (RecipientState.REFUSED, RecipientState.SUPPRESSED)
    ]
