"""Why an email was not sent, in words for its sender, and what to do next. Pure: rows in, sentences out."""

from collections.abc import Sequence
from dataclasses import dataclass

from mails.models import Attempt, Event, Mail, Recipient
from mails.sentences import Blob, clean
from mails.states import AttemptState, EventName, RecipientState, Source, Status
from providers.outcomes import FailureClass

SHOWN = 10  # faults
_LONGEST = 300  # characters of an answer


@dataclass(frozen=True, slots=True)
class Advice:
    """What was wrong, one sentence each, and the next step."""

    title: str
    faults: Sequence[str]
    next_step: str
    may_copy: bool  # whether sending a corrected copy is the next step


def advise(
    mail: Mail, events: Sequence[Event], attempts: Sequence[Attempt], recipients: Sequence[Recipient]
) -> Advice | None:
    """Return the advice for an email that ended unsent, or was sent to some recipients only; None for any other."""
    match mail.status:
        case Status.REJECTED:
            return _rejected(mail, events)
        case Status.DISCARDED:
            return _discarded(mail, attempts, recipients)
        case Status.EXPIRED:
            return Advice(
                "Not sent: no account accepted it before it expired.",
                _answers(attempts, recipients),
                "Send it again if it still matters, or ask an operator to reprocess it.",
                may_copy=True,
            )
        case Status.DONE if any(one.state == RecipientState.REFUSED for one in recipients):
            return Advice(
                "Not everybody gets it: some addresses were refused for good.",
                _refused(recipients),
                "Check these addresses and send a corrected copy to them alone; the others have it.",
                may_copy=True,
            )
    return None


def _rejected(mail: Mail, events: Sequence[Event]) -> Advice:
    blobs = [Blob(event.blob) for event in events if event.event == EventName.BAD_REQUEST]
    faults = [f"{item.text('field')}: {item.text('detail')}" for blob in blobs for item in blob.items("errors")]
    application = mail.api_key.name if mail.api_key else ""
    who = f"The application {clean(application)}" if mail.source == Source.API and application else "The sender"
    return Advice(
        "Not accepted: it failed validation, so it was never queued.",
        faults[:SHOWN] or ["No fault is on record."],
        f"{who} has to correct this and send the email again; this one is kept only for the record.",
        may_copy=False,
    )


def _discarded(mail: Mail, attempts: Sequence[Attempt], recipients: Sequence[Recipient]) -> Advice:
    faults = _answers(attempts, recipients)
    if not attempts:
        return Advice(
            "Not sent: no account could be asked.",
            [f"Reason: {clean(mail.reason_code)}." if mail.reason_code else "No reason is on record."],
            "Ask an operator which account may send it, and to reprocess it then.",
            may_copy=False,
        )
    if mail.fault == FailureClass.MESSAGE:
        return Advice(
            "Not sent: the provider refused this email itself, so the same email would be refused again.",
            faults,
            "Correct what the answer names (the address, the sender or the content), and send a corrected copy.",
            may_copy=True,
        )
    return Advice(
        "Not sent: no account accepted it. The email itself was not the problem.",
        faults,
        "Nothing in the email needs to be changed. Ask an operator to repair the account and to reprocess it.",
        may_copy=False,
    )


def _answers(attempts: Sequence[Attempt], recipients: Sequence[Recipient]) -> list[str]:
    """The last answer of each account, then those about single addresses."""
    last = {attempt.account: attempt for attempt in attempts if attempt.state != AttemptState.ACCEPTED}
    told = [f"{account}: {_answer(attempt)}" for account, attempt in last.items()]
    reasons = {attempt.reason for attempt in last.values()}
    return (told + [one for one in _refused(recipients) if not any(reason and reason in one for reason in reasons)])[
        :SHOWN
    ]


def _answer(attempt: Attempt) -> str:
    if attempt.state == AttemptState.OPEN:
        return "it has not answered."
    said = clean(attempt.reason)[:_LONGEST].strip()
    code = clean(attempt.reason_code)
    if attempt.state == AttemptState.UNKNOWN:
        return f"it did not say whether it accepted the email ({said or code})."
    return f"it answered “{said}” ({code})." if said and said != code else f"it answered {code or 'nothing'}."


def _refused(recipients: Sequence[Recipient]) -> list[str]:
    return [
        f"{clean(one.address)}: {clean(one.reason)[:_LONGEST] or 'refused for good'}"
        for one in recipients
        if one.state == RecipientState.REFUSED
    ]
