"""The record pass: write the results of calls, and hand what was refused to the next account. It runs in the record thread."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

import structlog
from django.db import Error

from mails.dispatch.accounts.account_pool import AccountPool
from mails.dispatch.accounts.account_selection import AccountSelection, BreakerChanged, select
from mails.dispatch.dispatcher_settings import DispatcherSettings
from mails.dispatch.due import claim
from mails.dispatch.planner import PassResult, Planner, count_done, list_lost
from mails.dispatch.steps import call_results
from mails.dispatch.steps.transitions import Result, StepDraft, StepPlan
from mails.lifecycle import action_execution, writer
from mails.lifecycle.action_requests import Confirmation
from mails.lifecycle.values import LateResult
from mails.suppression.check import Entry
from mercury.lib.database import database_clock
from mercury.lib.database.database_errors import classify
from providers.outcomes import Accepted, NotAttempted, Refused, Unknown

log = structlog.get_logger(__name__)

LOOKS = 3  # at the action requested during a call, while it changes


class Recorder:
    """The record passes of one dispatcher. Methods run in the record thread, `has_late` anywhere."""

    def __init__(self, pool: AccountPool, settings: DispatcherSettings, *, is_stopping: Callable[[], bool]) -> None:
        self.planner = Planner(pool, settings)
        self._pool = pool
        self._is_stopping = is_stopping
        self._late: list[LateResult] = []
        self._confirmations: list[Confirmation] = []

    def record(self, results: Sequence[Result]) -> PassResult:
        """Write the results of calls, and hand what was refused to the next account."""
        now_ns = database_clock.now_ns()
        self.planner.undo_unconfirmed(now_ns)
        self._pool.note_ended(results)
        judged, plans, won = self._record(results, now_ns)
        concluded = self.planner.conclude(plans, won)
        lost = {plan.step.mail_id for plan in list_lost(plans, won)}
        again, failed = self._apply_pending([result for result in judged if result.call.mail.id in lost], now_ns)
        lost -= {plan.step.mail_id for plan in again} | failed
        late = [result for result in judged if result.call.mail.id in lost]
        self._late += [call_results.describe_late(result, now_ns=now_ns) for result in late]
        self._confirmations += filter(None, map(call_results.confirm, late))
        written = [result for result in results if result.call.mail.id not in failed]
        self._observe(written, database_clock.from_ns(now_ns))
        unwritten = [result for result in results if result.call.mail.id in failed]
        return replace(concluded, done=concluded.done + count_done(again), unwritten=unwritten)

    def _record(self, results: Sequence[Result], now_ns: int) -> tuple[list[Result], list[StepPlan], set[uuid.UUID]]:
        """Return the results as they count, their plans, and the ids of the emails that took theirs."""
        plans: list[StepPlan] = []
        while True:
            try:
                with self.planner.until_confirmed(plans), select(self._pool, now_ns) as selection:
                    judged = selection.judge(results)
                    plans[:] = self._plan_all(judged, selection)
                    won = self.planner.record(selection, plans, one_by_one=True)
                return judged, plans, won
            except BreakerChanged:
                continue

    def _plan_all(self, results: Sequence[Result], selection: AccountSelection) -> list[StepPlan]:
        answers = [call_results.close_call(result, now_ns=selection.now_ns) for result in results]
        open_drafts = [answer for answer in answers if isinstance(answer, StepDraft)]
        suppressed = claim.find_suppressed([draft.mail for draft in open_drafts], selection.now)
        return [
            answer if isinstance(answer, StepPlan) else self._plan_next(answer, suppressed, selection)
            for answer in answers
        ]

    def _plan_next(
        self, draft: StepDraft, suppressed: Mapping[uuid.UUID, Mapping[int, Entry]], selection: AccountSelection
    ) -> StepPlan:
        if draft.mail.id in suppressed:
            draft = replace(draft, mail=draft.mail._replace(suppressed=suppressed[draft.mail.id]))
        return self.planner.plan_next(draft, selection, give_back=self._is_stopping())

    def _apply_pending(self, lost: Sequence[Result], now_ns: int) -> tuple[list[StepPlan], set[uuid.UUID]]:
        """Carry out what was requested during a call; or give back what a pause keeps from the next account.

        Return the plans that were carried out, and the emails to record again: those left where the database failed,
        since the group's other steps are committed by then and their calls must be made, and those whose pending action
        changed at each look. A query only where a step was lost.
        """
        carried_out: list[StepPlan] = []
        pending: dict[uuid.UUID, str] = {}
        left = {result.call.mail.id: result for result in lost}
        for _ in range(LOOKS):
            try:
                attempts = {mail_id: result.call.attempt for mail_id, result in left.items()}
                pending = claim.read_pending_actions(attempts) if left else {}
                plans = [
                    call_results.apply_pending(left[mail_id], action, now_ns=now_ns)
                    for mail_id, action in pending.items()
                ]
                won = writer.record_each([plan.step for plan in plans]) if plans else set()
            except Error as error:
                log.warning("record_failed", error=classify(error), results=len(left))
                return carried_out, set(left)
            if not pending:
                break
            carried_out += [plan for plan in plans if plan.step.mail_id in won]
            left = {mail_id: result for mail_id, result in left.items() if mail_id not in won}
        return carried_out, left.keys() & pending.keys()

    def _observe(self, results: Sequence[Result], now: dt.datetime) -> None:
        """Log failures, update breakers, and record late results. A failure here never undoes a result."""
        _log_failures(results)
        try:
            self._pool.observe(results, now)
        except Error as error:
            log.warning("breakers_not_updated", error=classify(error))
        self.try_to_record_late()

    def has_late(self) -> bool:
        """Return True if there are late results that are not recorded yet."""
        return bool(self._late or self._confirmations)

    def has_left(self) -> bool:
        """Return True if anything is left for `try_to_record_late`."""
        return self.has_late() or bool(self.planner.unconfirmed)

    def try_to_record_late(self) -> None:
        """Record the late results and undo what was not confirmed, or keep them where the database fails."""
        try:
            self.planner.undo_unconfirmed(database_clock.now_ns())
            self.record_late()
        except Error as error:
            log.warning("late_results_not_recorded", error=classify(error))

    def record_late(self) -> None:
        """Record what this dispatcher learned about emails that it no longer holds."""
        if self._late:
            for mail_id, _, _ in self._late:
                log.warning("result_came_late", mail=str(mail_id))
            writer.record_late(self._late)
            self._late = []
        if self._confirmations:
            action_execution.apply_confirmations(self._confirmations)
            self._confirmations = []


def _log_failures(results: Sequence[Result]) -> None:
    for result in results:
        if isinstance(result.outcome, Accepted):
            continue
        mail, account = str(result.call.mail.id), result.call.account.name
        match result.outcome:
            case (
                Refused(failure_class=failure_class, reason_code=reason_code)
                | NotAttempted(failure_class=failure_class, reason_code=reason_code)
            ):
                log.info(
                    "attempt_refused", mail=mail, account=account, failure_class=failure_class, reason_code=reason_code
                )
            case Unknown(reason_code=reason_code):
                log.warning("attempt_unknown", mail=mail, account=account, reason_code=reason_code)
            case never:
                assert_never(never)
