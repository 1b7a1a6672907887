"""Sentences about actions, the same on pages, over the API and in commands."""

from collections.abc import Collection

from mails.models import Mail
from mails.states import Action, HoldReason, Status

PAST = {
    Action.CANCEL: "cancelled",
    Action.HOLD: "held",
    Action.RELEASE: "released",
    Action.REPROCESS: "reprocessed",
    Action.RETRY: "retried now",
    Action.RESCHEDULE: "rescheduled",
    Action.SENT: "resolved",
    Action.NOT_SENT: "resolved",
}
_RESULT = {
    Action.CANCEL: "cancelled",
    Action.HOLD: "held",
    Action.RELEASE: "released",
    Action.REPROCESS: "queued",
    Action.RETRY: "retried now",
    Action.RESCHEDULE: "rescheduled",
    Action.SENT: "resolved",
    Action.NOT_SENT: "queued",
}
_STATE = {Status.DONE: "sent", Status.SENDING: "being sent", Status.WAITING: "waiting to retry"}


def describe_state(mail: Mail) -> str:
    """Return the state of the email, as the middle of a sentence."""
    if mail.status == Status.HELD:
        return "on hold, outcome unknown" if mail.reason_code == HoldReason.UNKNOWN else "on hold"
    state = _STATE.get(Status(mail.status)) or mail.get_status_display().lower()
    return f"{state}, and its body was deleted on {mail.text_removed_at:%Y-%m-%d}" if mail.text_removed_at else state


def label_action(action: Action, emails: str) -> str:
    """Return the action as a question and a button name it: `Cancel 3 emails`, `Mark 1 email as sent`."""
    match action:
        case Action.SENT:
            return f"Mark {emails} as sent"
        case Action.NOT_SENT:
            return f"Mark {emails} as not sent"
    return f"{action.label} {emails}"


def describe_result(action: Action, *, done: int, requested: int, changed: int, skipped: int) -> str:
    """Return what an action did to a number of emails, in one sentence."""
    parts = [f"{done:,} {_RESULT[action]}"]
    if requested:
        parts.append(f"{requested:,} pending until the request in progress ends")
    if changed:
        parts.append(f"{changed:,} changed state in the meantime")
    return ", ".join([*parts, f"{skipped:,} skipped"]) + "."


def join_names(accounts: Collection[str]) -> str:
    """Join the names of accounts as a sentence lists them."""
    *before, last = sorted(accounts) or [""]
    return f"{', '.join(before)} and {last}" if before else last
