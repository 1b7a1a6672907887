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
from mails.lifecycle import action_requests
from mails.lifecycle.action_requests import ActionRequest, How
from mails.models import Attempt, BulkOrder, Mail, first_id
from mails.models.querysets import MailQuerySet
from mails.reporting import search
from mails.reporting.search import Filter
from mails.states import RESOLVING, Action, Also
from mercury.lib.database import database_clock

TASK = "bulk-orders"
BATCH = 250  # mails in one transaction
SECONDS_A_TURN = 0.5  # the dispatcher's database thread waits for a turn


def chosen(action: Action, selected: Filter | Sequence[uuid.UUID], at: dt.datetime) -> MailQuerySet:
    """The mails that are ticked, or that fit the filter, stand where the order may be possible, and had come in by `at`.

    What became of a call that was closed after `at` was not asked, so a mail with such a call is not resolved by the
    answer. Raises UnknownSearchWord.
    """
    mails = _fitting(action, selected, at) if isinstance(selected, Filter) else Mail.objects.filter(pk__in=selected)
    if action in RESOLVING:
        return mails.exclude(Exists(Attempt.objects.filter(mail=OuterRef("pk"), closed_at__gt=at)))
    return mails


def _fitting(action: Action, selected: Filter, at: dt.datetime) -> MailQuerySet:
    come_in = Mail.objects.filter(pk__lt=first_id(at + dt.timedelta(milliseconds=1)))
    return selection.within_reach(action, selected.narrow(come_in, at))


def ask(
    action_request: ActionRequest,
    selected: Filter | Sequence[uuid.UUID],
    *,
    at: dt.datetime,
    words: str,
    also: Sequence[Also] = (),
    total: int | None = None,
) -> BulkOrder:
    """Keep the order; whoever has the duty begins within seconds. `words` say what was chosen, for people."""
    return BulkOrder.objects.create(
        action=action_request.action,
        asked_by=action_request.by,
        asked_at=at,
        note=action_request.note,
        words=words,
        query=selected.as_query() if isinstance(selected, Filter) else "",
        ticked=None if isinstance(selected, Filter) else [str(mail_id) for mail_id in selected],
        also=list(also),
        how=action_request.how.as_text(),
        total=total,
    )


def turn() -> bool:
    """Work on the oldest order that is not finished, for about half a second. Whether that changed a mail."""
    bulk = BulkOrder.objects.filter(finished_at=None).order_by("id").first()
    return bulk is not None and bool(work_on(bulk, seconds=SECONDS_A_TURN).done)


def work_on(bulk: BulkOrder, *, seconds: float) -> BulkOrder:
    """Work through the order's batches until it is finished, or the time is over; returns it as it stands then."""
    until = time.monotonic() + seconds
    while bulk.finished_at is None:
        _step(bulk)
        bulk = BulkOrder.objects.get(pk=bulk.pk)
        if time.monotonic() >= until:
            break
    return bulk


def stop(bulk_id: uuid.UUID, *, by: str) -> bool:
    """Do no more of it; False if it was finished before."""
    going_on = BulkOrder.objects.filter(pk=bulk_id, finished_at=None)
    return bool(going_on.update(finished_at=database_clock.now(), stopped_by=by))


def sentence(bulk: BulkOrder) -> str:
    """What was done so far."""
    left_out = sum(bulk.left_out.values())
    return selection.told(
        Action(bulk.action), done=bulk.done, requested=bulk.requested, changed=bulk.changed, left_out=left_out
    )


@transaction.atomic
def _step(bulk: BulkOrder) -> None:
    """One batch, unless another process has taken it meanwhile."""
    row = BulkOrder.objects.filter(pk=bulk.pk, finished_at=None)
    if row.filter(turns=bulk.turns).update(turns=F("turns") + 1) != 1:
        return
    action, how = Action(bulk.action), How.parse(bulk.how)
    mails = list(_next(bulk, action))
    fresh = action_requests.find_untried(how, [mail.pk for mail in mails])
    why = {mail.pk: selection.why_not(mail, action, also=bulk.also, how=how, fresh=fresh[mail.pk]) for mail in mails}
    action_request = ActionRequest(action, bulk.asked_by, bulk.note, how=how)
    carried = action_requests.carry_out_on(action_request, [mail_id for mail_id in why if not why[mail_id]])
    left_out = Counter(bulk.left_out) + Counter(filter(None, why.values()))
    if carried.already:
        left_out["it was so before"] += len(carried.already)
    row.update(
        reached=mails[-1].pk if mails else bulk.reached,
        seen=F("seen") + len(mails),
        done=F("done") + len(carried.done),
        requested=F("requested") + len(carried.requested),
        changed=F("changed") + len(carried.impossible | carried.changed),
        left_out=dict(left_out),
        finished_at=None if len(mails) == BATCH else database_clock.now(),
    )


def _next(bulk: BulkOrder, action: Action) -> MailQuerySet:
    ticked = None if bulk.ticked is None else [uuid.UUID(text) for text in bulk.ticked]
    selected = Filter.of(QueryDict(bulk.query)) if ticked is None else ticked
    try:
        mails = chosen(action, selected, bulk.asked_at)
    except search.UnknownSearchWord:  # a release that knows fewer words of search
        mails = Mail.objects.none()
    return selection.read(mails.filter(pk__gt=bulk.reached) if bulk.reached else mails, BATCH)
