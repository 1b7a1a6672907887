"""One event of an email as a title and a sentence.

Each function describes one kind of event; `describe_event` picks it by the event's name.
"""

from __future__ import annotations

from collections.abc import Callable

from mails.models import Event, Mail
from mails.states import NEVER_CALLED, STORAGE_AWAY, Action, EventName, HoldReason, Source, SuppressionReason
from mails.timeline import action_text, file_text
from mails.timeline.entry import BoldText, Entry, EvaluatedAccount, refer_to_email
from mails.timeline.event_payload import EventPayload, shorten
from mails.timeline.reply_text import describe_latency, describe_reply
from mercury.lib import durations
from mercury.lib.durations import format_clock
from mercury.lib.mail.printable import replace_unprintable
from mercury.lib.moments import format_minute
from providers.outcomes import FailureClass


def describe_event(mail: Mail, event: Event, payload: EventPayload) -> Entry:
    """Return the event as a step of the timeline: title, sentence, tone and icon, for any name and payload."""
    describe = _DESCRIBERS.get(event.event)
    if describe is not None:
        return describe(mail, payload)
    if event.event in EventName.values:
        return _describe_report(EventName(event.event), payload)
    author = BoldText(replace_unprintable(event.created_by))
    return Entry(title=replace_unprintable(event.event), parts=("Added by ", author, "."))


# Intake


def _describe_new(mail: Mail, payload: EventPayload) -> Entry:
    application = payload.get_text("application")
    before, after = {
        Source.API: ("Submitted by application ", " via the API"),
        Source.FORM: ("Submitted by ", " via the web form"),
        Source.COMMAND: ("Submitted on the ", ""),
        Source.STREAM: ("Submitted by application ", " through a stream"),
    }.get(Source(mail.source), ("Submitted by ", ""))
    parts: list[str] = [before, BoldText(application or "an unknown client"), after]
    if key := payload.get_text("key"):
        parts += [", key ", BoldText(f"{key}…")]
    size = payload.get_number("size")
    parts.append(f", {durations.format_size(int(size if size is not None else mail.size))}")
    if copy_of := payload.get_text("copy_of"):
        parts += [", as a copy of ", refer_to_email(copy_of)]
    return Entry(title="Received", parts=tuple(parts), icon="inbox")


def _describe_bad_request(mail: Mail, payload: EventPayload) -> Entry:
    errors = [f"{error.get_text('field')}: {error.get_text('detail')}" for error in payload.get_objects("errors")]
    sentence = " ".join(errors) or "It failed validation."
    return Entry(title="Failed validation", parts=(sentence, " It was not queued."), tone="bad", icon="ban")


def _describe_accepted(mail: Mail, payload: EventPayload) -> Entry:
    count = int(payload.get_number("recipients") or 1)
    recipients = "1 recipient" if count == 1 else f"{count} recipients"
    answered = ". Answered 202." if mail.source == Source.API else "."
    parts = (f"{recipients}, queue ", BoldText(payload.get_text("queue") or mail.queue), answered)
    return Entry(title="Valid and stored", parts=parts, tone="ok", icon="tick")


def _describe_suppressed(mail: Mail, payload: EventPayload) -> Entry:
    reason, scope, since = payload.get_text("reason"), payload.get_text("scope"), payload.get_time("since")
    words = SuppressionReason(reason).label.lower() if reason in SuppressionReason.values else reason
    parts = [
        BoldText(payload.get_text("address") or "A recipient"),
        " gets no email: it is on the suppression list",
        f" for email from {scope}" if scope else "",
        f" since {since:%Y-%m-%d}" if since else "",
        f" ({words})." if words else ".",
    ]
    return Entry(title="Recipient suppressed", parts=tuple(filter(None, parts)), tone="bad", icon="ban")


def _describe_enqueue(mail: Mail, payload: EventPayload) -> Entry:
    queue = payload.get_text("queue") or mail.queue
    rule = payload.get_text("rule")
    why = f", picked by the rule {rule}" if rule else ""
    if send_at := payload.get_time("send_at"):
        parts = ("To be sent at ", BoldText(format_minute(send_at)), f", in queue {queue}{why}")
        return Entry(title="Scheduled", parts=parts, icon="clock")
    return Entry(title="Queued", parts=(f"Waiting for a worker in queue {queue}{why}",), icon="lines")


# Dispatch


def _describe_dequeue(mail: Mail, payload: EventPayload) -> Entry:
    parts: list[str] = []
    if (waited := payload.get_number("waited_ms")) is not None:
        parts += ["Waited ", BoldText(durations.format_duration(waited / 1000)), ". "]
    if worker := payload.get_text("worker"):
        parts += ["Worker ", BoldText(worker)]
    if until := payload.get_time("lease_until"):
        parts.append(f"{', c' if worker else 'C'}laimed until {format_clock(until)}")
    return Entry(title="Claimed by a worker", parts=tuple(parts), tone="active", icon="clock")


def _describe_ready_to_send(mail: Mail, payload: EventPayload) -> Entry:
    accounts = _read_accounts(payload)
    service = payload.get_text("service")
    eligible = sum(account.eligible for account in accounts)
    why = payload.get_text("why")
    sentence = why[:1].upper() + why[1:] or f"Weighted random choice among {eligible} eligible accounts"
    title = f"Selected {service or 'a provider'}"
    rule = payload.get_text("rule")
    parts = (sentence, f", by the routing rule “{rule}”") if rule else (sentence,)
    return Entry(title=title, parts=parts, tone="active", icon="choose", evaluated=accounts)


def _read_accounts(payload: EventPayload) -> tuple[EvaluatedAccount, ...]:
    return tuple(_read_account(account) for account in payload.get_objects("evaluated"))


def _read_account(account: EventPayload) -> EvaluatedAccount:
    selected, eligible = account.is_true("selected"), account.is_true("eligible")
    note = account.get_text("note")
    if selected:
        words = note or "selected"
    elif eligible:
        words = f"eligible: {note}" if note else "eligible"
    else:
        words = f"skipped: {note or 'no reason recorded'}"
    weight, priority = account.get_number("weight"), account.get_number("priority")
    return EvaluatedAccount(
        account=account.get_text("account") or "?",
        weight="" if weight is None else f"{weight:g}",
        priority="" if priority is None else f"{priority:g}",
        note=words,
        eligible=eligible or selected,
        selected=selected,
    )


def _describe_send(mail: Mail, payload: EventPayload) -> Entry:
    words = []
    if (attempt := payload.get_number("attempt")) is not None:
        words.append(f"Attempt {attempt:.0f}")
    if (timeout := payload.get_number("deadline_s")) is not None:
        final = payload.get_number("final_reply_s")
        more = f", plus {durations.format_duration(final)} for the final reply" if final is not None else ""
        words.append(f"timeout {durations.format_duration(timeout)}{more}")
    recipients = payload.get_strings("to")
    if len(recipients) > 1:
        words.append(f"{len(recipients)} recipients in one request")
    if (repeated := payload.get_number("repeats")) is not None:
        words.append(f"repeats attempt {repeated:.0f} with the same idempotency key: the provider sends no second copy")
    title = f"Request sent to {payload.get_text('service') or 'the provider'}"
    return Entry(title=title, parts=(", ".join(words),), tone="active", icon="plane")


def _describe_done(mail: Mail, payload: EventPayload) -> Entry:
    service = payload.get_text("service") or "the provider"
    code = payload.get_number("status_code")
    if code is None and payload.get_number("attempt") is None:  # no request ended here: resolved, or the rest given up
        title, parts = "Closed as sent", ["Sent through ", BoldText(service), "."]
    else:
        reply = BoldText("Accepted" if code is None else f"{code:.0f}")
        title, parts = f"Accepted by {service}", [reply, *describe_latency(payload), "."]
    if message_id := payload.get_text("provider_message_id"):
        parts += [" Provider’s message id: ", BoldText(message_id), "."]
    if refused := payload.get_objects("refused"):
        named = "; ".join(f"{item.get_text('address')} ({item.get_text('reason')})" for item in refused[:10])
        parts += [" Refused: ", BoldText(named), "."]
    if too_late := _TOO_LATE.get(payload.get_object("too_late").get_text("action")):
        parts.append(too_late)
    if payload.is_true("possible_duplicate"):
        parts.append(" Possible duplicate: an earlier attempt got no reply.")
    return Entry(title=title, parts=tuple(parts), tone="ok", icon="tick")


_TOO_LATE = {
    Action.CANCEL.value: " Too late to cancel it.",
    Action.HOLD.value: " Too late to hold it.",
}


_WITHOUT_REQUEST = frozenset({NEVER_CALLED, HoldReason.FILE_MISSING.value, STORAGE_AWAY})


def _describe_failure(mail: Mail, payload: EventPayload) -> Entry:
    service, reason = payload.get_text("service") or "the provider", payload.get_text("reason")
    if payload.get_text("reason_code") in _WITHOUT_REQUEST:
        return Entry(title=f"No request to {service}", parts=(shorten(reason, 300),), tone="bad", icon="cross")
    reply = BoldText(describe_reply(payload))
    parts: list[str] = [
        reply,
        *describe_latency(payload),
        ". ",
        _IN_PROGRESS
        if payload.get_number("repeat_in") is not None
        else _FAILURE_WORDS.get(payload.get_text("failure_class"), ""),
    ]
    has_reply = payload.get_number("status_code") is not None
    if reason:
        parts.append(f" The reply: “{shorten(reason, 300)}”" if has_reply else f" {shorten(reason, 300)}")
    if (wait := payload.get_number("retry_after")) is not None:
        parts.append(f" It asks to wait {durations.format_duration(wait)}.")
    title = f"Refused by {service}"
    if not has_reply:  # the words are Mercury's own
        is_unreached = payload.get_text("failure_class") == FailureClass.PROVIDER.value
        title = f"{service} was not reached" if is_unreached else f"No request to {service}"
    return Entry(title=title, parts=tuple(parts), tone="bad", icon="cross")


_IN_PROGRESS = "The earlier request with the same idempotency key is still in progress there; it is repeated later."
_FAILURE_WORDS = {
    FailureClass.MESSAGE.value: "Message rejected; definitely not sent.",
    FailureClass.ACCOUNT.value: "Account problem; definitely not sent. Another account may accept it.",
    FailureClass.RECIPIENT.value: "The recipient's mailbox is temporarily unavailable; definitely not sent. It is retried later.",
    FailureClass.RATE.value: "Rate limit; definitely not sent. Another account may accept it now.",
    FailureClass.PROVIDER.value: "Provider error; definitely not sent.",
    FailureClass.LOCAL.value: "Error on Mercury's own machine; definitely not sent. The account is not the cause.",
}


def _describe_unknown(mail: Mail, payload: EventPayload) -> Entry:
    service = payload.get_text("service") or "the provider"
    code = payload.get_text("reason_code")
    no_reply = "timeout" in code or "time-out" in code or "lost" in code
    sent = [". The request went out, so the email ", BoldText("may have been sent"), "."]
    parts: list[str] = [describe_reply(payload), *describe_latency(payload), *sent]
    if (reason := payload.get_text("reason")) and reason != code:
        parts.append(f" {shorten(reason, 300).rstrip('.')}.")
    if payload.get_text("delivery_guarantee") or payload.get_text("next"):
        guarantee, next_step = (
            payload.get_text("delivery_guarantee") or mail.delivery_guarantee,
            _AFTER_UNKNOWN.get(payload.get_text("next"), payload.get_text("next")),
        )
        parts += [" Delivery guarantee ", BoldText(guarantee), f": {next_step}." if next_step else "."]
    title = f"No reply from {service}" if no_reply else f"Outcome unknown at {service}"
    return Entry(title=title, parts=tuple(parts), tone="unknown", icon="question")


_AFTER_UNKNOWN = {
    "same account": "repeated there with the same idempotency key, so that the provider sends no second copy",
}


def _describe_retry(mail: Mail, payload: EventPayload) -> Entry:
    service = payload.get_text("service")
    if payload.get_number("repeats") is not None:
        sentence = f"{service or 'The account'} recognizes the request by its idempotency key, and sends no second copy"
        return Entry(title="Repeating the request", parts=(sentence,), tone="waiting", icon="again")
    if payload.get_text("when") != "later":
        sentence = f"{service} was already tried in this round" if service else "Another account is tried next"
        return Entry(title="Trying the next account", parts=(sentence,), tone="waiting", icon="again")
    at, wait = payload.get_time("next_attempt_at"), payload.get_number("wait_s")
    sentence = "No account is available now"
    if at:
        sentence += f"; next attempt at {format_clock(at)}"
    if wait is not None:
        sentence += f", in {durations.format_duration(wait)}"
    return Entry(title="Retry scheduled", parts=(sentence,), tone="waiting", icon="again")


def _describe_postponed(mail: Mail, payload: EventPayload) -> Entry:
    until = payload.get_time("until")
    sentence = f"No account is available before {format_clock(until)}" if until else "No account is available now"
    info = payload.get_text("info")
    return Entry(
        title="Postponed",
        parts=(sentence, f": {info}" if info else "", ". This does not count as an attempt."),
        tone="waiting",
        icon="clock",
        evaluated=_read_accounts(payload),
    )


def _describe_late_result(mail: Mail, payload: EventPayload) -> Entry:
    service = payload.get_text("service") or "a provider"
    outcome = payload.get_text("outcome") or "no outcome"
    sentence = f"A worker whose claim had expired reports: {outcome}, {describe_reply(payload)}."
    return Entry(title=f"Late response from {service}", parts=(sentence,), tone="unknown", icon="note")


def _describe_duplicate(mail: Mail, payload: EventPayload) -> Entry:
    parts = (BoldText(payload.get_text("service") or "Another account"), " accepted it too, so it was sent twice.")
    return Entry(title="Sent twice", parts=parts, tone="unknown", icon="question")


# The end without a delivery


def _describe_discarded(mail: Mail, payload: EventPayload) -> Entry:
    parts = [payload.get_text("info") or "No account accepted it."]
    if tried := payload.get_strings("tried"):
        parts += [" Tried: ", BoldText(", ".join(tried)), "."]
    if constraint := action_text.describe_constraint(payload):
        parts.append(f" It was restricted: {constraint}.")
    return Entry(title="Discarded", parts=tuple(parts), tone="bad", icon="cross")


def _describe_expired(mail: Mail, payload: EventPayload) -> Entry:
    sentence = payload.get_text("info") or "It expired before any account accepted it."
    return Entry(title="Expired", parts=(sentence,), icon="cross")


# Reports


def _describe_report(name: EventName, payload: EventPayload) -> Entry:
    """Describe an event without a sentence of its own, such as a provider's report."""
    words = [text for key in ("info", "note", "reason", "by", "service") if (text := payload.get_text(key))]
    return Entry(title=name.label, parts=(". ".join(words),), tone=_REPORT_TONES.get(name, "neutral"), icon="note")


_REPORT_TONES = {
    EventName.DELIVERED: "ok",
    EventName.BOUNCED: "bad",
    EventName.COMPLAINED: "bad",
    EventName.DEFERRED: "waiting",
}
_DESCRIBERS: dict[str, Callable[[Mail, EventPayload], Entry]] = {
    EventName.NEW: _describe_new,
    EventName.BAD_REQUEST: _describe_bad_request,
    EventName.ACCEPTED: _describe_accepted,
    EventName.SUPPRESSED: _describe_suppressed,
    EventName.ENQUEUE: _describe_enqueue,
    EventName.DEQUEUE: _describe_dequeue,
    EventName.READY_TO_SEND: _describe_ready_to_send,
    EventName.SEND: _describe_send,
    EventName.DONE: _describe_done,
    EventName.FAILURE: _describe_failure,
    EventName.RETRY: _describe_retry,
    EventName.DISCARDED: _describe_discarded,
    EventName.UNKNOWN: _describe_unknown,
    EventName.HELD: action_text.describe_held,
    EventName.RELEASED: action_text.describe_released,
    EventName.RESCHEDULED: action_text.describe_rescheduled,
    EventName.REPROCESS: action_text.describe_reprocess,
    EventName.CANCELLED: action_text.describe_cancelled,
    EventName.RESOLVED: action_text.describe_resolved,
    EventName.REQUESTED: action_text.describe_requested,
    EventName.DUPLICATE: _describe_duplicate,
    EventName.FILE_DOWNLOADED: file_text.describe_file_downloaded,
    EventName.COPIED: action_text.describe_copied,
    EventName.LINK_REVOKED: file_text.describe_link_revoked,
    EventName.POSTPONED: _describe_postponed,
    EventName.EXPIRED: _describe_expired,
    EventName.LATE_RESULT: _describe_late_result,
}
