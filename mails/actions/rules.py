"""Which emails an action may change, and why it skips others; the same for pages, the API, commands and the background."""

import datetime as dt
from collections.abc import Collection

from mails import schedule
from mails.actions.errors import AccountNotUsable, TimesNotAllowed
from mails.actions.wording import describe_state
from mails.lifecycle import action_execution, action_requests
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice
from mails.models import Mail
from mails.models.querysets import MailQuerySet
from mails.schedule import Schedule
from mails.states import Action, Inclusion, Status
from mercury.lib.database import database_clock
from providers.outcomes import FailureClass

MAX_NOTE = 500  # characters of a reason
_STATES = {
    Action.CANCEL: {Status.QUEUED, Status.SENDING, Status.WAITING, Status.HELD},
    Action.HOLD: {Status.QUEUED, Status.SENDING, Status.WAITING},
    Action.RELEASE: {Status.HELD, Status.SENDING},
    Action.REPROCESS: {Status.DISCARDED, Status.EXPIRED, Status.WAITING, Status.HELD},
    Action.RETRY: {Status.WAITING},
    Action.RESCHEDULE: {Status.QUEUED, Status.WAITING},
    Action.SENT: {Status.HELD},
    Action.NOT_SENT: {Status.HELD},
}
_COLUMNS = (  # as many as `explain_skip` and the preview read
    "id",
    "status",
    "queue",
    "send_at",
    "reason_code",
    "failure_class",
    "delivery_guarantee",
    "possible_duplicate",
    "pending_action",
    "text_removed_at",
    "provider",
    "routing_constraint",
)
NEEDS_CONFIRMATION = "the outcome is unknown: resolve it first"
NO_UNTRIED_ACCOUNT = "every available account was already tried"


def filter_eligible_states(action: Action, mails: MailQuerySet) -> MailQuerySet:
    """Return the emails in a state that may allow the action."""
    return mails.filter(status__in=_STATES[action])


def load_oldest(mails: MailQuerySet, limit: int | None = None) -> MailQuerySet:
    """Return the emails, oldest first, with the columns that `explain_skip` reads."""
    return mails.order_by("id").only(*_COLUMNS)[:limit]


def explain_skip(
    mail: Mail,
    action: Action,
    *,
    included: Collection[Inclusion] = (),
    account_choice: AccountChoice = EVERY_ACCOUNT,
    untried: Collection[str] = (),
) -> str:
    """Return why the action skips this email, in words; empty if it does not. Pure.

    `untried`: the accounts of the choice that the email was not tried with. They may accept what others rejected.
    """
    if is_already(mail, action):
        return f"already {describe_state(mail)}"
    if action not in action_requests.list_actions(mail):
        if mail.status == Status.HELD and action_requests.needs_confirmation(mail):
            return NEEDS_CONFIRMATION
        return describe_state(mail)
    if action != Action.REPROCESS:
        return ""
    if account_choice.not_tried and not untried:
        return NO_UNTRIED_ACCOUNT
    if mail.possible_duplicate and Inclusion.UNCERTAIN not in included:
        return str(Inclusion.UNCERTAIN.label)
    if mail.failure_class == FailureClass.MESSAGE and not untried and Inclusion.REFUSED not in included:
        return str(Inclusion.REFUSED.label)
    return ""


def is_already(mail: Mail, action: Action) -> bool:
    """Return True if the email is in the state that the action leads to."""
    return mail.status in action_execution.ALREADY.get(action, ())


def is_allowed(mail: Mail, action: Action, account_choice: AccountChoice) -> bool:
    """Return True if the email's state allows the action and an account is left for it."""
    if action not in action_requests.list_actions(mail):
        return False
    return not account_choice.not_tried or bool(action_execution.find_untried(account_choice, [mail.pk])[mail.pk])


def list_offered_accounts() -> list[str]:
    """Return the accounts that an email may be sent through, by name."""
    return sorted(action_execution.list_usable_accounts())


def plan_times(send_at: dt.datetime | None, expires_at: dt.datetime | None) -> Schedule:
    """Return the times of emails that are rescheduled; `send_at` None means now. Raises TimesNotAllowed."""
    now = database_clock.now()
    if errors := tuple(schedule.find_errors(send_at, expires_at, now)):
        raise TimesNotAllowed(errors)
    return schedule.plan(send_at, expires_at, now)


def check_account_choice(account_choice: AccountChoice) -> None:
    """Raise AccountNotUsable if emails are to go through a named account that cannot be used."""
    if not account_choice.via:
        return
    usable = action_execution.list_usable_accounts()
    for name in account_choice.names:
        if name not in usable:
            raise AccountNotUsable(name, usable)
