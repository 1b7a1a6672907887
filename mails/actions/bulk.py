"""Actions on many emails: stored as a row and carried out in batches, oldest email first, by any process.

Callers show a preview first. A batch and its counts are one transaction: no email is changed or counted twice, even if
the process dies.
"""

import datetime as dt
import time
import uuid
from collections import Counter
from collections.abc import Sequence

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.http import QueryDict

from mails.actions import rules, wording
from mails.lifecycle import action_execution
from mails.lifecycle.action_requests import AccountChoice, ActionRequest
from mails.models import Attempt, BulkAction, Mail, first_id
from mails.models.querysets import MailQuerySet
from mails.reporting import search
from mails.reporting.search import MailListFilter
from mails.schedule import Schedule
from mails.states import RESOLVING, Action, Inclusion
from mercury.lib.database import database_clock

TASK = "bulk-actions"
BATCH = 250  # emails in one transaction
SECONDS_PER_RUN = 1.0  # the other periodic tasks wait for it


def select_mails(action: Action, selected: MailListFilter | Sequence[uuid.UUID], at: dt.datetime) -> MailQuerySet:
    """Return the selected emails that were received by `at`, in a state that may allow the action.

    A resolving action excludes emails with an attempt that ended after `at`: the person who asked did not know its outcome.
    Raises UnknownSearchWord.
    """
    if isinstance(selected, MailListFilter):
        received = Mail.objects.filter(pk__lt=first_id(at + dt.timedelta(milliseconds=1)))
        mails = rules.filter_eligible_states(action, selected.narrow(received, at))
    else:
        mails = Mail.objects.filter(pk__in=selected)
    if action in RESOLVING:
        return mails.exclude(Exists(Attempt.objects.filter(mail=OuterRef("pk"), closed_at__gt=at)))
    return mails


def create_bulk_action(
    action_request: ActionRequest,
    selected: MailListFilter | Sequence[uuid.UUID],
    *,
    at: dt.datetime,
    description: str,
    included: Sequence[Inclusion] = (),
    total: int | None = None,
) -> BulkAction:
    """Store a bulk action; the leader begins within seconds. `description`: which emails, for people."""
    times = action_request.times
    return BulkAction.objects.create(
        action=action_request.action,
        requested_by=action_request.by,
        requested_at=at,
        note=action_request.note,
        description=description,
        query=selected.as_query() if isinstance(selected, MailListFilter) else "",
        selected_ids=None if isinstance(selected, MailListFilter) else [str(mail_id) for mail_id in selected],
        included=list(included),
        account_choice=action_request.account_choice.as_text(),
        send_at=times.send_at if times else None,
        expires_at=times.expires_at if times else None,
        total=total,
    )


def run() -> bool:
    """Work on the oldest unfinished bulk action for about a second; return True if that changed an email."""
    bulk_action = BulkAction.objects.filter(finished_at=None).order_by("id").first()
    return bulk_action is not None and bool(process_batches(bulk_action, seconds=SECONDS_PER_RUN).done)


def process_batches(bulk_action: BulkAction, *, seconds: float) -> BulkAction:
    """Process batches until the bulk action is finished or the time is over; return it as it is then."""
    until = time.monotonic() + seconds
    while bulk_action.finished_at is None:
        _process_batch(bulk_action)
        bulk_action = BulkAction.objects.get(pk=bulk_action.pk)
        if time.monotonic() >= until:
            break
    return bulk_action


def stop(bulk_id: uuid.UUID, *, by: str) -> bool:
    """Stop a bulk action; return False if it has already finished. Emails that are done stay so."""
    unfinished = BulkAction.objects.filter(pk=bulk_id, finished_at=None)
    return bool(unfinished.update(finished_at=database_clock.now(), stopped_by=by))


def describe_progress(bulk_action: BulkAction) -> str:
    """Return what was done so far, in one sentence."""
    return wording.describe_result(
        Action(bulk_action.action),
        done=bulk_action.done,
        requested=bulk_action.requested,
        changed=bulk_action.changed,
        skipped=sum(bulk_action.skipped.values()),
    )


@transaction.atomic
def _process_batch(bulk_action: BulkAction) -> None:
    """Process the next batch, unless another process has begun it."""
    row = BulkAction.objects.filter(pk=bulk_action.pk, finished_at=None)
    if row.filter(batches=bulk_action.batches).update(batches=F("batches") + 1) != 1:
        return
    action, account_choice = Action(bulk_action.action), AccountChoice.parse(bulk_action.account_choice)
    mails = list(_select_next(bulk_action, action))
    untried = action_execution.find_untried(account_choice, [mail.pk for mail in mails])
    reasons = {
        mail.pk: rules.explain_skip(
            mail, action, included=bulk_action.included, account_choice=account_choice, untried=untried[mail.pk]
        )
        for mail in mails
    }
    action_request = ActionRequest(
        action=action,
        by=bulk_action.requested_by,
        note=bulk_action.note,
        account_choice=account_choice,
        times=_read_times(bulk_action),
    )
    result = action_execution.carry_out_by_id(action_request, [mail_id for mail_id in reasons if not reasons[mail_id]])
    skipped = Counter(bulk_action.skipped) + Counter(filter(None, reasons.values()))
    if result.already:
        skipped["already in this state"] += len(result.already)
    row.update(
        last_examined=mails[-1].pk if mails else bulk_action.last_examined,
        examined=F("examined") + len(mails),
        done=F("done") + len(result.done),
        requested=F("requested") + len(result.requested),
        changed=F("changed") + len(result.impossible | result.changed),
        skipped=dict(skipped),
        finished_at=None if len(mails) == BATCH else database_clock.now(),
    )


def _read_times(bulk_action: BulkAction) -> Schedule | None:
    if bulk_action.send_at is None or bulk_action.expires_at is None:
        return None
    return Schedule(send_at=bulk_action.send_at, expires_at=bulk_action.expires_at)


def _select_next(bulk_action: BulkAction, action: Action) -> MailQuerySet:
    selected_ids = None if bulk_action.selected_ids is None else [uuid.UUID(text) for text in bulk_action.selected_ids]
    selected = MailListFilter.from_query(QueryDict(bulk_action.query)) if selected_ids is None else selected_ids
    try:
        mails = select_mails(action, selected, bulk_action.requested_at)
    except search.UnknownSearchWord:  # another release knows more search words
        mails = Mail.objects.none()
    return rules.load_oldest(
        mails.filter(pk__gt=bulk_action.last_examined) if bulk_action.last_examined else mails, BATCH
    )
