"""The selection of accounts by one pass: what it chooses, and what it has to reserve for that."""

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.db import transaction

from mails.dispatch.accounts import account_quotas, account_results
from mails.dispatch.accounts.account_pool import AccountPool
from mails.dispatch.steps.transitions import Call, Result
from mails.states import Actor
from mercury.lib.database import database_clock
from providers.accounts.registry import Candidate
from providers.health import breaker_store
from providers.health.breaker import BreakerSnapshot
from providers.routing.choose import RoutingDecision
from providers.routing.rules import Route


class BreakerChanged(Exception):
    """Another dispatcher changed an account's breaker first: the pass has to be planned again."""


@contextmanager
def select(pool: AccountPool, now_ns: int) -> Iterator["AccountSelection"]:
    """Begin a selection of accounts: read them and their breakers; undo what was begun if the pass fails."""
    pool.lock.acquire()
    selection = AccountSelection(pool, now_ns)
    try:
        pool.refresh(selection.now)
        yield selection
    except Exception:
        pool.undo(selection.begun)
        raise
    finally:
        selection.let_others_choose()


class AccountSelection:
    """The accounts that one pass selects, and what it has to reserve for that."""

    def __init__(self, pool: AccountPool, now_ns: int) -> None:
        self.now_ns = now_ns
        self.now = database_clock.from_ns(now_ns)
        self.begun: list[Call] = []
        self.may_probe: frozenset[str] = frozenset()  # routes whose emails all failed for one mailbox's sake last
        self.yielding: frozenset[str] = frozenset()  # queues that leave a rest of each account's limits to others
        self._chooses = True
        self._pool = pool
        self._before: dict[int, BreakerSnapshot] = {}  # breakers from which it reserves something, as they were

    def choose(
        self, route: Route, *, first: bool, probes: bool = True, queue: str = "", recipients: int = 1
    ) -> RoutingDecision:
        """Choose an account as `AccountPool.choose` does, and note what `reserve` has to write for it."""
        leaves_rest = queue in self.yielding
        choice = self._pool.choose(
            route, self.now, first=first, probes=probes, leaves_rest=leaves_rest, recipients=recipients
        )
        candidate = choice.candidate
        if candidate is not None and (choice.probe or candidate.config.rate or candidate.config.quota.has_any):
            self._before.setdefault(candidate.id, candidate.breaker)
            self._pool.reserve(candidate, self.now, probe=choice.probe, recipients=recipients)
        return choice

    def find(self, account: str) -> Candidate | None:
        """Return the account of this name as it is now; None if there is none."""
        return next((candidate for candidate in self._pool.candidates if candidate.config.name == account), None)

    def judge(self, results: Sequence[Result]) -> list[Result]:
        """Return the results as they count: an account that refuses everything does not judge emails.

        Each acceptance and refusal counts for those behind it, so that a group ends no more emails than single calls do.
        """
        runs = {candidate.config.name: account_results.get_run(candidate) for candidate in self._pool.candidates}
        judged = []
        for result in results:
            name = result.call.account.name
            if name in runs:
                runs[name] = account_results.count_refusals(runs[name], [result], self.now)
                if runs[name].is_systemic and account_results.find_refusal(result) is not None:
                    result = account_results.reclassify_as_account(result)
            judged.append(result)
        return judged

    def note_begun(self, call: Call) -> None:
        """Note a call that is made as soon as the pass is committed."""
        self._pool.note_begun(call)
        self.begun.append(call)

    @contextmanager
    def reserve(self) -> Iterator[None]:
        """Write what the choices need, and do what is inside, in one transaction. Nothing is chosen any more.

        Raises BreakerChanged. Costs nothing where no account has a rate limit or needs a probe. Breakers are written in the order of
        their accounts, so that two dispatchers wait for each other but never in a circle.
        """
        if not self._before:
            self.let_others_choose()
            yield
            return
        reserved = [candidate for candidate in self._pool.candidates if candidate.id in self._before]
        with transaction.atomic():
            for candidate in sorted(reserved, key=lambda candidate: candidate.id):
                if not breaker_store.save(self._before[candidate.id], candidate.breaker, by=Actor.DISPATCHER):
                    raise BreakerChanged
            yield
        for candidate in reserved:
            saved = dataclasses.replace(candidate.breaker, version=self._before[candidate.id].version + 1)
            self._pool.replace(candidate, saved)

    def give_back(self, calls: Sequence[Call]) -> None:
        """Give the quotas back what was reserved for calls that will not be made, in the transaction of `reserve`."""
        for candidate in self._pool.candidates:
            unsent = account_quotas.list_uncalled(calls, candidate.config)
            if unsent:
                breaker = account_quotas.give_back(candidate.breaker, candidate.config, unsent)
                breaker_store.write_quota_use(breaker)

    def let_others_choose(self) -> None:
        """Let the other thread choose: this pass has chosen all that it wanted."""
        if self._chooses:
            self._chooses = False
            self._pool.lock.release()
