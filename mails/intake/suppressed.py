"""Mark the recipients of new emails that are on the suppression list: they get none, and the others do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mails.lifecycle.values import EventDraft, NewMail
from mails.states import ALL_SUPPRESSED, SUPPRESSED, Actor, EventName, Status
from mails.suppression import check
from mails.suppression.check import Entry
from mercury.lib.database import database_clock
from providers.outcomes import FailureClass


def mark(new: Sequence[NewMail]) -> Sequence[NewMail]:
    """Return the emails with their suppressed recipients marked; one without another recipient is discarded at once.

    One query for all, none while the list is empty. Each is looked up again before it is sent.
    """
    if not check.may_have_entries():
        return new
    accepted = [mail for mail in new if mail.mail.status != Status.REJECTED]
    addresses = {recipient.address for mail in accepted for recipient in mail.message.recipients}
    found = check.find(addresses, database_clock.now())
    return [_mark(mail, found) for mail in new] if found else new


def _mark(new: NewMail, found: check.Matches) -> NewMail:
    listed = [recipient.address for recipient in new.message.recipients]
    matched = {address: found.find(address, sender=new.mail.sender) for address in listed}
    entries = {address: entry for address, entry in matched.items() if entry is not None}
    if not entries or new.mail.status == Status.REJECTED:
        return new
    reasons = {address: entry.sentence for address, entry in entries.items()}
    at_ns = new.events[-1].at_ns
    events = _draft_events(entries, at_ns)
    if len(entries) < len(matched):
        *stored, enqueue = new.events
        return replace(new, suppressed=reasons, events=(*stored, *events, enqueue))
    new.mail.status = Status.DISCARDED  # the receipt shows this object
    state = new.state._replace(
        status=Status.DISCARDED,
        next_attempt_at=None,
        finished_at=database_clock.from_ns(at_ns),
        failure_class=FailureClass.MESSAGE,
        reason_code=SUPPRESSED,
    )
    end = EventDraft(event=EventName.DISCARDED, by=Actor.MAIL_SERVICE, at_ns=at_ns, blob={"info": ALL_SUPPRESSED})
    stored = [event for event in new.events if event.event != EventName.ENQUEUE]
    return replace(new, state=state, suppressed=reasons, events=(*stored, *events, end))


def _draft_events(entries: Mapping[str, Entry], at_ns: int) -> list[EventDraft]:
    return [
        EventDraft(event=EventName.SUPPRESSED, by=Actor.MAIL_SERVICE, at_ns=at_ns, blob=entry.as_blob(address))
        for address, entry in entries.items()
    ]
