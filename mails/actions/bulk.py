"""Orders for many mails: kept as a row, and worked through in batches, oldest mail first, whatever process dies meanwhile.

Whoever asks sees to it that it was said first what will be done. A batch and its count are one transaction: no mail is
done twice or counted twice.
"""

import datetime as dt
import time
import uuid
from collections import Counter
from collections.abc import Sequence

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.http import QueryDict

from mails.actions import selection
from mails.lifecycle import action_execution
from mails.lifecycle.action_requests import AccountChoice, ActionRequest
from mails.models import Attempt, BulkAction, Mail, first_id
from mails.models.querysets import MailQuerySet
from mails.reporting import search
from mails.reporting.search import Filter
from mails.states import RESOLVING, Action, Inclusion
from mercury.lib.database import database_clock

TASK = "bulk-orders"
BATCH = 250  # mails in one transaction
SECONDS_A_TURN = 0.5  # the dispatcher's database thread waits for a turn


def select_mails(action: Action, selected: Filter | Sequence[uuid.UUID], at: dt.datetime) -> MailQuerySet:
    """The mails that are ticked, or that fit the filter, stand where the order may be possible, and had come in by `at`.

    What became of a call that was closed after `at` was not asked, so a mail with such a call is not resolved by the
    answer. Raises UnknownSearchWord.
    """
    mails = (
        _match_filter(action, selected, at) if isinstance(selected, Filter) else Mail.objects.filter(pk__in=selected)
    )
    if action in RESOLVING:
        return mails.exclude(Exists(Attempt.objects.filter(mail=OuterRef("pk"), closed_at__gt=at)))
    return mails


def _match_filter(action: Action, selected: Filter, at: dt.datetime) -> MailQuerySet:
    come_in = Mail.objects.filter(pk__lt=first_id(at + dt.timedelta(milliseconds=1)))
    return selection.filter_reachable(action, selected.narrow(come_in, at))


def create_bulk_action(
    action_request: ActionRequest,
    selected: Filter | Sequence[uuid.UUID],
    *,
    at: dt.datetime,
    words: str,
    included: Sequence[Inclusion] = (),
    total: int | None = None,
) -> BulkAction:
    """Keep the order; whoever has the duty begins within seconds. `words` say what was chosen, for people."""
    return BulkAction.objects.create(
        action=action_request.action,
        requested_by=action_request.by,
        requested_at=at,
        note=action_request.note,
        words=words,
        query=selected.as_query() if isinstance(selected, Filter) else "",
        selected_ids=None if isinstance(selected, Filter) else [str(mail_id) for mail_id in selected],
        included=list(included),
        account_choice=action_request.account_choice.as_text(),
        total=total,
    )


def run() -> bool:
    """Work on the oldest order that is not finished, for about half a second. Whether that changed a mail."""
    bulk = BulkAction.objects.filter(finished_at=None).order_by("id").first()
    return bulk is not None and bool(work_on(bulk, seconds=SECONDS_A_TURN).done)


def work_on(bulk: BulkAction, *, seconds: float) -> BulkAction:
    """Work through the order's batches until it is finished, or the time is over; returns it as it stands then."""
    until = time.monotonic() + seconds
    while bulk.finished_at is None:
        _process_batch(bulk)
        bulk = BulkAction.objects.get(pk=bulk.pk)
        if time.monotonic() >= until:
            break
    return bulk


def stop_bulk_action(bulk_id: uuid.UUID, *, by: str) -> bool:
    """Do no more of it; False if it was finished before."""
    going_on = BulkAction.objects.filter(pk=bulk_id, finished_at=None)
    return bool(going_on.update(finished_at=database_clock.now(), stopped_by=by))


def describe_progress(bulk: BulkAction) -> str:
    """What was done so far."""
    skipped = sum(bulk.skipped.values())
    return selection.describe_result(
        Action(bulk.action), done=bulk.done, requested=bulk.requested, changed=bulk.changed, skipped=skipped
    )


@transaction.atomic
def _process_batch(bulk: BulkAction) -> None:
    """One batch, unless another process has taken it meanwhile."""
    row = BulkAction.objects.filter(pk=bulk.pk, finished_at=None)
    if row.filter(batches=bulk.batches).update(batches=F("batches") + 1) != 1:
        return
    action, account_choice = Action(bulk.action), AccountChoice.parse(bulk.account_choice)
    mails = list(_select_next(bulk, action))
    fresh = action_execution.find_untried(account_choice, [mail.pk for mail in mails])
    why = {
        mail.pk: selection.explain_skip(
            mail, action, included=bulk.included, account_choice=account_choice, fresh=fresh[mail.pk]
        )
        for mail in mails
    }
    action_request = ActionRequest(action=action, by=bulk.requested_by, note=bulk.note, account_choice=account_choice)
    carried = action_execution.carry_out_by_id(action_request, [mail_id for mail_id in why if not why[mail_id]])
    skipped = Counter(bulk.skipped) + Counter(filter(None, why.values()))
    if carried.already:
        skipped["it was so before"] += len(carried.already)
    row.update(
        reached=mails[-1].pk if mails else bulk.reached,
        seen=F("seen") + len(mails),
        done=F("done") + len(carried.done),
        requested=F("requested") + len(carried.requested),
        changed=F("changed") + len(carried.impossible | carried.changed),
        skipped=dict(skipped),
        finished_at=None if len(mails) == BATCH else database_clock.now(),
    )


def _select_next(bulk: BulkAction, action: Action) -> MailQuerySet:
    selected_ids = None if bulk.selected_ids is None else [uuid.UUID(text) for text in bulk.selected_ids]
    selected = Filter.of(QueryDict(bulk.query)) if selected_ids is None else selected_ids
    try:
        mails = select_mails(action, selected, bulk.requested_at)
    except search.UnknownSearchWord:  # a release that knows fewer words of search
        mails = Mail.objects.none()
    return selection.order_for_reading(mails.filter(pk__gt=bulk.reached) if bulk.reached else mails, BATCH)
