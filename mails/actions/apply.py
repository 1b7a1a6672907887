"""Apply an action to one email or to many. The API, the admin, pages and commands call this."""

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mails.actions import bulk, recipients, rules
from mails.actions.errors import ActionNotAllowed, MailNotFound, NoUntriedAccount
from mails.actions.wording import PAST, describe_state
from mails.dispatch import wake
from mails.intake.client import Client
from mails.lifecycle import action_execution, action_requests
from mails.lifecycle.action_execution import ActionResult
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice, ActionRequest
from mails.models import BulkAction, Mail
from mails.queues import QueueName
from mails.states import Action
from mercury.lib.database import database_clock
from mercury.lib.moments import format_minute

BATCH = 500  # emails in one transaction
_MAKES_DUE = frozenset({Action.RELEASE, Action.RETRY, Action.RESCHEDULE, Action.REPROCESS, Action.NOT_SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionReport:
    """Result of an action on one email."""

    mail: Mail
    requested: bool  # a request to a provider is in progress; the action follows when that ends
    changed: bool  # False: it was in that state before
    account_choice: AccountChoice = EVERY_ACCOUNT

    def describe(self, action: Action) -> str:
        """Return what happened, in sentences."""
        if self.requested and action == Action.RELEASE:
            return "The pending action is withdrawn."
        if self.requested:
            return (
                f"A request to {self.mail.provider} is in progress and cannot be stopped. Unless {self.mail.provider} "
                f"accepts the email, it is {PAST[action]} when the request ends."
            )
        if not self.changed:
            return f"The email is already {describe_state(self.mail)}."
        return {
            Action.CANCEL: "The email is cancelled. It will not be sent.",
            Action.HOLD: "The email is on hold until it is released.",
            Action.RELEASE: f"The email is released and is sent {_name_time(self.mail)}.",
            Action.REPROCESS: f"The email is queued and starts over {self.account_choice.words}.",
            Action.RETRY: "The next attempt starts now.",
            Action.RESCHEDULE: f"The email is sent {_name_time(self.mail)}.",
            Action.SENT: "The email is marked as sent.",
            Action.NOT_SENT: "The email is marked as not sent and queued for the next account.",
        }[action]


def _name_time(mail: Mail) -> str:
    """Return when an email is sent, as the end of a sentence."""
    return f"at {format_minute(mail.wanted_at)}" if mail.is_scheduled(database_clock.now()) else "now"


@dataclass(slots=True, kw_only=True)
class ActionCounts:
    """Result of an action on a number of emails."""

    done: int = 0
    requested: int = 0  # a request to a provider is in progress; done when that ends
    skipped: int = 0
    already: int = 0  # of the skipped ones: in that state before
    changed: int = 0  # changed state between preview and action, so that it was not allowed any more


def apply_action(mail_id: uuid.UUID, action_request: ActionRequest, *, client: Client | None = None) -> ActionReport:
    """Apply the action to one email, or store it as pending while a request to a provider is in progress.

    Applying it again changes nothing and raises nothing. `client`: who asks; changed recipients must keep the rules for
    what it may send. Raises ActionNotAllowed, AccountNotUsable, ChangesRefused or MailNotFound.
    """
    rules.check_account_choice(action_request.account_choice)
    result = _carry_out(action_request, [mail_id], client)
    mail = Mail.objects.filter(pk=mail_id).first()
    if mail is None:
        raise MailNotFound(mail_id)
    allowed = action_requests.list_actions(mail)
    if result.impossible and action_request.account_choice.not_tried and action_request.action in allowed:
        raise NoUntriedAccount(mail, action_request.action, allowed)
    if result.impossible or result.changed:
        raise ActionNotAllowed(mail, action_request.action, allowed, is_changing=bool(result.changed))
    return ActionReport(
        mail=mail,
        requested=mail_id in result.requested,
        changed=mail_id not in result.already,
        account_choice=action_request.account_choice,
    )


def apply_to_many(
    mail_ids: Sequence[uuid.UUID],
    action_request: ActionRequest,
    *,
    client: Client | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> ActionCounts:
    """Apply the action to these emails, 500 in a transaction. An email that has changed state is counted, not an error.

    With changed recipients it is one email, for each has its own. Raises ChangesRefused for it, as `apply_action` does.
    """
    counts = ActionCounts()
    for start in range(0, len(mail_ids), BATCH):
        result = _carry_out(action_request, mail_ids[start : start + BATCH], client)
        counts.done += len(result.done)
        counts.requested += len(result.requested)
        counts.skipped += len(result.already)
        counts.already += len(result.already)
        counts.changed += len(result.impossible) + len(result.changed)
        if on_progress:
            on_progress(min(start + BATCH, len(mail_ids)))
    return counts


def start_bulk_action(bulk_action: BulkAction, *, seconds: float) -> None:
    """Work on a bulk action here and now for at most this time; the background does the rest."""
    if bulk.process_batches(bulk_action, seconds=seconds).done and bulk_action.action in _MAKES_DUE:
        wake.wake_after_commit(QueueName.values)


def _carry_out(action_request: ActionRequest, mail_ids: Sequence[uuid.UUID], client: Client | None) -> ActionResult:
    if action_request.recipients:
        (mail_id,) = mail_ids
        result = recipients.carry_out(action_request, mail_id, client)
    else:
        result = action_execution.carry_out_by_id(action_request, mail_ids)
    if action_request.action in _MAKES_DUE and result.done:
        wake.wake_after_commit(Mail.objects.filter(pk__in=result.done).values_list("queue", flat=True).distinct())
    return result
