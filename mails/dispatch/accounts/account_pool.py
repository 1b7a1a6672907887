"""The accounts as one dispatcher sees them: their breakers, its own calls in progress, the calls that rate limits grant it.

Read again ten times a second at most. What it reserves (the one probe, calls of a rate limit) it reserves by conditional
UPDATE in the transaction of the steps that need it, so that all machines together keep to it.
"""

import dataclasses
import datetime as dt
import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import structlog

from mails.dispatch.accounts import account_quotas, account_results
from mails.dispatch.accounts.account_quotas import Unsent
from mails.dispatch.due.routes import parse_route
from mails.dispatch.steps.transitions import Call, Result
from mails.models import Worker
from mails.routing.book import NO_RULES, get_book
from mails.states import WORKER_SILENCE, Actor
from providers.accounts import registry
from providers.accounts.registry import Candidate
from providers.health import breaker_store, rate_limit, refusal_runs
from providers.health.breaker import FULL_FOR, BreakerSnapshot, Observation, begin_probe, observe
from providers.models import Account, Breaker
from providers.quotas.allowance import Allowance
from providers.routing import capacity
from providers.routing.capacity import AccountRoom, RouteAccounts
from providers.routing.choose import RoutingDecision, Shortlist
from providers.routing.rules import AccountLoad, Route, measure_allowances

log = structlog.get_logger(__name__)

FRESH = 0.1  # seconds that what was read of the accounts is used for
KEPT_ROUTES = 4096


class AccountPool:
    """Used by the threads of one dispatcher. While one chooses, the others wait; while it writes, they need not."""

    def __init__(self, *, concurrency: int, probe_lease: dt.timedelta) -> None:
        self.lock = threading.RLock()
        self.concurrency = concurrency
        self._probe_lease = probe_lease
        self.candidates: list[Candidate] = []
        self._read_at = float("-inf")  # monotonic clock
        self._calls: dict[uuid.UUID, str] = {}  # attempt -> account
        self._in_flight: Counter[str] = Counter()
        self._by_queue: Counter[str] = Counter()
        self._granted: dict[str, int] = {}
        self._allowances: dict[str, Allowance] = {}  # of the accounts with quotas
        self._resting: dict[str, dt.datetime] = {}  # account -> until when it is left to other processes
        self._accounts: dict[str, RouteAccounts] = {}  # by route, as long as the accounts are the same
        self._rules = NO_RULES
        self._shortlist: tuple[tuple[Any, ...], Shortlist] | None = None  # the last one, and what it was built for
        self._processes = 1  # that share the connections of an account

    def undo(self, calls: Iterable[Call]) -> None:
        """Forget calls that will not be made; what was reserved for them may not be reserved: read all again."""
        self._forget(calls)
        self._read_at = float("-inf")

    def refresh(self, now: dt.datetime) -> None:
        """Read the accounts again, if what is known of them is old, and what their rate limits grant."""
        if time.monotonic() - self._read_at > FRESH:
            before, self.candidates = self.candidates, registry.load_candidates()
            rules, self._rules = self._rules, get_book()
            if rules is not self._rules or list(map(_get_identity, before)) != list(
                map(_get_identity, self.candidates)
            ):
                self._accounts.clear()
            if any(candidate.config.max_connections for candidate in self.candidates):
                self._processes = max(1, Worker.objects.filter(seen_at__gte=now - WORKER_SILENCE).count())
            self._read_at = time.monotonic()
        self._allowances = measure_allowances(self.candidates, now)
        for candidate in self.candidates:
            if candidate.config.rate:
                self._granted[candidate.config.name] = rate_limit.count_available(
                    candidate.breaker.next_call_at, candidate.config.rate, now
                )

    def count_by_queue(self) -> dict[str, int]:
        """Return the calls in progress of each queue."""
        with self.lock:
            return dict(self._by_queue)

    def measure_rooms(self, now: dt.datetime, *, leaves_rest: bool = False) -> dict[str, AccountRoom]:
        """Return how many emails each account can take now, in the first call of an email.

        `leaves_rest`: of a queue that leaves a rest of each limit to more urgent ones.
        """
        with self.lock:
            self.refresh(now)
            load = self._build_load(now, slots=self._compute_share(), leaves_rest=leaves_rest)
            return capacity.measure_rooms(self._list_callable(now), load)

    def find_accounts(self, names: Iterable[str]) -> list[RouteAccounts]:
        """Return the accounts that emails of these routes (`Mail.route`) may use."""
        with self.lock:
            return [self._find_accounts(name) for name in names]

    def _find_accounts(self, name: str) -> RouteAccounts:
        accounts = self._accounts.get(name)
        if accounts is None:
            accounts = capacity.find_accounts(self.candidates, self._rules.apply(parse_route(name).accounts))
            if len(self._accounts) < KEPT_ROUTES:
                self._accounts[name] = accounts
        return accounts

    def note_begun(self, call: Call) -> None:
        """Note a call that is made as soon as its pass is committed."""
        with self.lock:
            self._calls[call.attempt.id] = call.account.name
            self._in_flight[call.account.name] += 1
            self._by_queue[call.mail.queue] += 1

    def _forget(self, calls: Iterable[Call]) -> None:
        with self.lock:
            for call in calls:
                self._end(call)

    def note_ended(self, results: Iterable[Result]) -> None:
        """Note calls that came back. Doing so twice changes nothing."""
        self._forget(result.call for result in results)

    def _end(self, call: Call) -> None:
        if self._calls.pop(call.attempt.id, None):
            self._in_flight[call.account.name] -= 1
            self._by_queue[call.mail.queue] -= 1

    def observe(self, results: Sequence[Result], now: dt.datetime) -> None:
        """Update the breakers with the outcomes of a group of calls; an account without news costs no write."""
        groups: dict[tuple[str, int], list[Result]] = defaultdict(list)
        for result in results:
            groups[result.call.account.name, result.call.epoch].append(result)
        with self.lock:
            known = {candidate.config.name: candidate for candidate in self.candidates}
            for (name, epoch), group in groups.items():
                observation = account_results.summarize(group, epoch, now, in_flight=self._in_flight[name])
                unsent: Sequence[Unsent] = ()
                if (candidate := known.get(name)) is not None:
                    end = account_quotas.find_end(group, candidate.config, now)
                    observation = dataclasses.replace(observation, quota_end=end)
                    unsent = account_quotas.list_unsent(group, candidate.config)
                if observation.at_capacity and not observation.at_once:
                    self._resting[name] = now + FULL_FOR
                if candidate is not None:
                    self._observe(candidate, observation, unsent, now)
            self._observe_refusals(results, now)

    def _observe(
        self, candidate: Candidate, observation: Observation, unsent: Sequence[Unsent], now: dt.datetime
    ) -> None:
        def apply(breaker: BreakerSnapshot) -> BreakerSnapshot:
            return account_quotas.give_back(observe(breaker, observation, now), candidate.config, unsent)

        if apply(candidate.breaker) == candidate.breaker:
            return
        try:
            self.replace(candidate, breaker_store.change(candidate.id, apply, by=Actor.DISPATCHER))
        except Breaker.DoesNotExist:
            log.info("account_removed", account=candidate.config.name)

    def _observe_refusals(self, results: Sequence[Result], now: dt.datetime) -> None:
        """Note refusals in a row and their end; an account that refused nothing costs no write."""
        for candidate in list(self.candidates):
            of_account = [result for result in results if result.call.account.name == candidate.config.name]
            if account_results.count_refusals(
                account_results.get_run(candidate), of_account, now
            ) == account_results.get_run(candidate):
                continue
            try:
                run = refusal_runs.change(
                    candidate.id,
                    partial(account_results.count_refusals, results=of_account, now=now),
                    by=Actor.DISPATCHER,
                )
            except Account.DoesNotExist:
                log.info("account_removed", account=candidate.config.name)
                continue
            self.candidates = [
                dataclasses.replace(known, refusals=run) if known.id == candidate.id else known
                for known in self.candidates
            ]

    def _list_callable(self, now: dt.datetime) -> list[Candidate]:
        """Return the accounts; one that is left to other processes as if its provider had asked this one to wait."""
        if not self._resting:
            return self.candidates
        self._resting = {name: until for name, until in self._resting.items() if until > now}
        return [self._let_rest(candidate) for candidate in self.candidates]

    def _let_rest(self, candidate: Candidate) -> Candidate:
        until, asked = self._resting.get(candidate.config.name), candidate.breaker.limited_until
        if until is None or (asked is not None and asked >= until):
            return candidate
        return dataclasses.replace(candidate, breaker=dataclasses.replace(candidate.breaker, limited_until=until))

    def _compute_share(self) -> int | None:
        """Return at most half of the slots for one account, so that one that hangs cannot starve the rest."""
        usable = [candidate for candidate in self.candidates if candidate.enabled and candidate.configured]
        return max(1, self.concurrency // 2) if len(usable) > 1 else None

    def choose(
        self,
        route: Route,
        now: dt.datetime,
        *,
        first: bool,
        probes: bool = True,
        leaves_rest: bool = False,
        recipients: int = 1,
    ) -> RoutingDecision:
        """Choose an account for an email of this route, to this number of recipients.

        An email that already has a slot may use it with any account; only the `first` choice keeps to an account's share
        of the slots, and `leaves_rest` of its limits to more urgent queues.
        """
        load = self._build_load(
            now,
            slots=self._compute_share() if first else None,
            leaves_rest=first and leaves_rest,
            recipients=recipients,
        )
        draw = random.random()  # noqa: S311 (a share of the load, not a secret)
        return self._get_shortlist(route, now, probes=probes).choose(load, draw=draw)

    def _get_shortlist(self, route: Route, now: dt.datetime, *, probes: bool) -> Shortlist:
        """Return the shortlist of this route: the last one, unless something is different. Most emails of a pass share it."""
        situation = (self._list_callable(now), self._rules, route, now, probes)
        if self._shortlist is None or self._shortlist[0] != situation:
            built = Shortlist.build(situation[0], now, self._rules.apply(route), probes=probes)
            self._shortlist = situation, built
        return self._shortlist[1]

    def _build_load(
        self, now: dt.datetime, *, slots: int | None, leaves_rest: bool, recipients: int = 1
    ) -> AccountLoad:
        return AccountLoad(
            now=now,
            in_flight=self._in_flight,
            slots=slots,
            permits=self._granted,
            processes=self._processes,
            leaves_rest=leaves_rest,
            allowances=self._allowances,
            recipients=recipients,
        )

    def reserve(self, candidate: Candidate, now: dt.datetime, *, probe: bool, recipients: int = 1) -> None:
        """Reserve what a choice needs: the probe, the rate limit's call, its part of the quotas. The pass writes that down."""
        breaker, config = candidate.breaker, candidate.config
        if probe:
            breaker = begin_probe(breaker, now, self._probe_lease)
        if config.rate:
            breaker = dataclasses.replace(
                breaker, next_call_at=rate_limit.reserve(breaker.next_call_at, config.rate, now, 1)
            )
            self._granted[config.name] -= 1
        if (allowance := self._allowances.get(config.name)) is not None:
            allowance = self._allowances[config.name] = allowance.take(allowance.count(recipients))
            breaker = breaker.count_quota(allowance.use)
        self.replace(candidate, breaker)

    def replace(self, candidate: Candidate, breaker: BreakerSnapshot) -> None:
        """Replace what is known of the account's breaker."""
        fresh = dataclasses.replace(candidate, breaker=breaker)
        self.candidates = [fresh if known.id == candidate.id else known for known in self.candidates]


def _get_identity(candidate: Candidate) -> tuple[str, str, str, bool]:
    """Return what decides which routes may use the account."""
    return candidate.config.name, candidate.config.kind, candidate.source, candidate.enabled
