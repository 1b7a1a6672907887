"""Which of many mails an order is for, and why the others are left out; for commands, pages and the background alike."""

from collections.abc import Collection

from mails.lifecycle import action_execution, action_requests
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice
from mails.models import Mail
from mails.models.querysets import MailQuerySet
from mails.states import Action, HoldReason, Inclusion, Status
from providers.outcomes import FailureClass

_REACH = {
    Action.CANCEL: {Status.QUEUED, Status.SENDING, Status.WAITING, Status.HELD},
    Action.HOLD: {Status.QUEUED, Status.SENDING, Status.WAITING},
    Action.RELEASE: {Status.HELD, Status.SENDING},
    Action.REPROCESS: {Status.DISCARDED, Status.EXPIRED, Status.WAITING, Status.HELD},
    Action.RETRY: {Status.WAITING},
    Action.SENT: {Status.HELD},
    Action.NOT_SENT: {Status.HELD},
}
_READ = (
    "id",
    "status",
    "queue",
    "reason_code",
    "failure_class",
    "delivery_guarantee",
    "possible_duplicate",
    "pending_action",
    "text_removed_at",
    "provider",
)
_DONE = {
    Action.CANCEL: "cancelled",
    Action.HOLD: "held",
    Action.RELEASE: "released",
    Action.REPROCESS: "queued",
    Action.RETRY: "retried now",
    Action.SENT: "resolved",
    Action.NOT_SENT: "queued",
}
NEEDS_CONFIRMATION = "the outcome is unknown: resolve it first"
NO_UNTRIED_ACCOUNT = "every available account was already tried"


def filter_reachable(action: Action, mails: MailQuerySet) -> MailQuerySet:
    """Those of the mails that stand where the order may be possible at all."""
    return mails.filter(status__in=_REACH[action])


def order_for_reading(mails: MailQuerySet, at_most: int | None = None) -> MailQuerySet:
    """The mails, oldest first, with as much of each as `explain_skip` asks for."""
    return mails.order_by("id").only(*_READ)[:at_most]


def explain_skip(
    mail: Mail,
    action: Action,
    *,
    included: Collection[Inclusion] = (),
    account_choice: AccountChoice = EVERY_ACCOUNT,
    fresh: Collection[str] = (),
) -> str:
    """Why the order leaves this mail out, in words; empty if it does not. Pure.

    `fresh`: what `orders.fresh` says for it. An account that knows nothing of the mail may take what others refused.
    """
    if is_already(mail, action):
        return f"already {describe_state(mail)}"
    if action not in action_requests.list_actions(mail):
        if mail.status == Status.HELD and action_requests.needs_confirmation(mail):
            return NEEDS_CONFIRMATION
        return describe_state(mail)
    if action != Action.REPROCESS:
        return ""
    if account_choice.not_tried and not fresh:
        return NO_UNTRIED_ACCOUNT
    if mail.possible_duplicate and Inclusion.UNCERTAIN not in included:
        return str(Inclusion.UNCERTAIN.label)
    if mail.failure_class == FailureClass.MESSAGE and not fresh and Inclusion.REFUSED not in included:
        return str(Inclusion.REFUSED.label)
    return ""


def is_already(mail: Mail, action: Action) -> bool:
    """Whether the mail stands where the order would bring it."""
    return mail.status in action_execution.ALREADY.get(action, ())


def describe_state(mail: Mail) -> str:
    """Where the mail stands, as the middle of a sentence."""
    if mail.status == Status.HELD:
        return "on hold, outcome unknown" if mail.reason_code == HoldReason.UNKNOWN else "on hold"
    words = {Status.DONE: "sent", Status.SENDING: "being sent", Status.WAITING: "deferred"}.get(
        Status(mail.status), mail.get_status_display().lower()
    )
    if mail.text_removed_at:
        return f"{words}, and its body was deleted on {mail.text_removed_at:%Y-%m-%d}"
    return words


def label_action(action: Action, mails: str) -> str:
    """An order for so many mails, as a question and a button say it: `Cancel 3 mails`, `Resolve 1 mail as sent`."""
    match action:
        case Action.SENT:
            return f"Mark {mails} as sent"
        case Action.NOT_SENT:
            return f"Mark {mails} as not sent"
    return f"{action.label} {mails}"


def describe_result(action: Action, *, done: int, requested: int, changed: int, skipped: int) -> str:
    """What an order did to a number of mails, in one sentence."""
    words = [f"{done:,} {_DONE[action]}"]
    if requested:
        words.append(f"{requested:,} pending until the request in progress ends")
    if changed:
        words.append(f"{changed:,} changed state in the meantime")
    return ", ".join([*words, f"{skipped:,} skipped"]) + "."
