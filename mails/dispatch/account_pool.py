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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog
from django.db import transaction

from mails.dispatch import retry_policy
from mails.dispatch.transitions import Call, Result
from mails.models import Worker
from mails.states import WORKER_SILENCE, Actor
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.accounts.registry import Candidate
from providers.health import breaker_store, rate_limit, refusal_runs
from providers.health.breaker import FULL_FOR, BreakerSnapshot, Observation, begin_probe, observe
from providers.health.refusal_runs import Refusal, RefusalRunSnapshot
from providers.models import Account, Breaker
from providers.outcomes import Accepted, FailureClass, NotAttempted, Refused, Unknown
from providers.routing import capacity
from providers.routing.choose import RoutingDecision, choose, has_only_probes
from providers.routing.rules import NO_CONSTRAINT, AccountLoad, RoutingConstraint

log = structlog.get_logger(__name__)

FRESH = 0.1  # seconds that what was read of the accounts is used for


class BreakerChanged(Exception):
    """Another dispatcher changed an account's breaker first: the pass has to be planned again."""


class AccountPool:
    """Used by the threads of one dispatcher. While one chooses, the others wait; while it writes, they need not."""

    def __init__(self, *, concurrency: int, probe_lease: dt.timedelta) -> None:
        self.lock = threading.RLock()
        self._concurrency = concurrency
        self._probe_lease = probe_lease
        self.candidates: list[Candidate] = []
        self._read_at = float("-inf")  # monotonic clock
        self._calls: dict[uuid.UUID, str] = {}  # attempt -> account
        self._in_flight: Counter[str] = Counter()
        self._granted: dict[str, int] = {}
        self._resting: dict[str, dt.datetime] = {}  # account -> until when it is left to other processes
        self._processes = 1  # that share the connections of an account

    @contextmanager
    def select(self, now_ns: int) -> Iterator["AccountSelection"]:
        """Begin a selection of accounts: read them and their breakers; undo what was begun if the pass fails."""
        self.lock.acquire()
        selection = AccountSelection(self, now_ns)
        try:
            self._refresh(selection.now)
            yield selection
        except Exception:
            self.undo(selection.begun)
            raise
        finally:
            selection.let_others_choose()

    def undo(self, calls: Iterable[Call]) -> None:
        """Forget calls that will not be made; what was reserved for them may not be reserved: read all again."""
        self._forget(calls)
        self._read_at = float("-inf")

    def _refresh(self, now: dt.datetime) -> None:
        if time.monotonic() - self._read_at > FRESH:
            self.candidates = registry.load_candidates()
            if any(candidate.config.max_connections for candidate in self.candidates):
                self._processes = max(1, Worker.objects.filter(seen_at__gte=now - WORKER_SILENCE).count())
            self._read_at = time.monotonic()
        for candidate in self.candidates:
            if candidate.config.rate:
                self._granted[candidate.config.name] = rate_limit.count_available(
                    candidate.breaker.next_call_at, candidate.config.rate, now
                )

    def count_capacity(self, now: dt.datetime) -> int:
        """Return how many emails could be handed over now."""
        with self.lock:
            self._refresh(now)
            return capacity.count_capacity(self._list_callable(now), self._build_load(now, slots=self._compute_share()))

    def has_only_probes(self, now: dt.datetime) -> bool:
        """Return True if what may be called now are probes alone."""
        with self.lock:
            self._refresh(now)
            return has_only_probes(self._list_callable(now), self._build_load(now, slots=self._compute_share()))

    def find_next_chance(self, now: dt.datetime) -> float:
        """Return the seconds until it is worth to look again when the capacity was 0: at least 20 ms, at most 2 s."""
        with self.lock:
            evaluated = self.choose((), now, first=True).evaluated
        waits = [(account.until - now).total_seconds() for account in evaluated if account.until]
        return min(max(min(waits, default=2.0), 0.02), 2.0)

    def note_begun(self, call: Call) -> None:
        """Note a call that is made as soon as its pass is committed."""
        with self.lock:
            self._calls[call.attempt.id] = call.account.name
            self._in_flight[call.account.name] += 1

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

    def observe(self, results: Sequence[Result], now: dt.datetime) -> None:
        """Update the breakers with the outcomes of a group of calls; an account without news costs no write."""
        groups: dict[tuple[str, int], list[Result]] = defaultdict(list)
        for result in results:
            groups[result.call.account.name, result.call.epoch].append(result)
        with self.lock:
            known = {candidate.config.name: candidate for candidate in self.candidates}
            for (name, epoch), group in groups.items():
                observation = _summarize(group, epoch, now, in_flight=self._in_flight[name])
                if observation.at_capacity and not observation.at_once:
                    self._resting[name] = now + FULL_FOR
                if (candidate := known.get(name)) is not None:
                    self._observe(candidate, observation, now)
            self._observe_refusals(results, now)

    def _observe(self, candidate: Candidate, observation: Observation, now: dt.datetime) -> None:
        def apply(breaker: BreakerSnapshot) -> BreakerSnapshot:
            return observe(breaker, observation, now)

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
            if _count_refusals(_get_run(candidate), of_account, now) == _get_run(candidate):
                continue
            try:
                run = refusal_runs.change(
                    candidate.id, partial(_count_refusals, results=of_account, now=now), by=Actor.DISPATCHER
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
        self._resting = {name: until for name, until in self._resting.items() if until > now}
        if not self._resting:
            return self.candidates
        return [self._let_rest(candidate) for candidate in self.candidates]

    def _let_rest(self, candidate: Candidate) -> Candidate:
        until, asked = self._resting.get(candidate.config.name), candidate.breaker.limited_until
        if until is None or (asked is not None and asked >= until):
            return candidate
        return dataclasses.replace(candidate, breaker=dataclasses.replace(candidate.breaker, limited_until=until))

    def _compute_share(self) -> int | None:
        """Return at most half of the slots for one account, so that one that hangs cannot starve the rest."""
        usable = [candidate for candidate in self.candidates if candidate.enabled and candidate.configured]
        return max(1, self._concurrency // 2) if len(usable) > 1 else None

    def choose(
        self,
        tried: Sequence[str],
        now: dt.datetime,
        *,
        first: bool,
        routing_constraint: RoutingConstraint = NO_CONSTRAINT,
        probes: bool = True,
    ) -> RoutingDecision:
        """Choose an account for an email that these have refused, and that may have a routing constraint.

        An email that already has a slot may use it with any account; only the `first` choice keeps to an account's share
        of the slots.
        """
        return choose(
            self._list_callable(now),
            self._build_load(now, slots=self._compute_share() if first else None),
            draw=random.random(),  # noqa: S311 (a share of the load, not a secret)
            tried=tried,
            routing_constraint=routing_constraint,
            probes=probes,
        )

    def _build_load(self, now: dt.datetime, *, slots: int | None) -> AccountLoad:
        return AccountLoad(
            now=now, in_flight=self._in_flight, slots=slots, permits=self._granted, processes=self._processes
        )

    def reserve(self, candidate: Candidate, now: dt.datetime, *, probe: bool) -> None:
        """Reserve the probe and the rate limit's call that a choice needs; the pass writes that down."""
        breaker, config = candidate.breaker, candidate.config
        if probe:
            breaker = begin_probe(breaker, now, self._probe_lease)
        if config.rate:
            breaker = dataclasses.replace(
                breaker, next_call_at=rate_limit.reserve(breaker.next_call_at, config.rate, now, 1)
            )
            self._granted[config.name] -= 1
        self.replace(candidate, breaker)

    def replace(self, candidate: Candidate, breaker: BreakerSnapshot) -> None:
        """Replace what is known of the account's breaker."""
        fresh = dataclasses.replace(candidate, breaker=breaker)
        self.candidates = [fresh if known.id == candidate.id else known for known in self.candidates]


class AccountSelection:
    """The accounts that one pass selects, and what it has to reserve for that."""

    def __init__(self, pool: AccountPool, now_ns: int) -> None:
        self.now_ns = now_ns
        self.now = database_clock.from_ns(now_ns)
        self.begun: list[Call] = []
        self.probes_for_all = False  # also for emails whose last failure was one mailbox's: no other can probe
        self._chooses = True
        self._pool = pool
        self._before: dict[int, BreakerSnapshot] = {}  # breakers from which it reserves something, as they were

    def choose(
        self,
        tried: Sequence[str],
        *,
        first: bool,
        routing_constraint: RoutingConstraint = NO_CONSTRAINT,
        probes: bool = True,
    ) -> RoutingDecision:
        """Choose an account as `AccountPool.choose` does, and note what `reserve` has to write for it."""
        choice = self._pool.choose(tried, self.now, first=first, routing_constraint=routing_constraint, probes=probes)
        candidate = choice.candidate
        if candidate is not None and (choice.probe or candidate.config.rate):
            self._before.setdefault(candidate.id, candidate.breaker)
            self._pool.reserve(candidate, self.now, probe=choice.probe)
        return choice

    def judge(self, results: Sequence[Result]) -> list[Result]:
        """Return the results as they count: an account that refuses everything does not judge emails.

        Each acceptance and refusal counts for those behind it, so that a group ends no more emails than single calls do.
        """
        runs = {candidate.config.name: _get_run(candidate) for candidate in self._pool.candidates}
        judged = []
        for result in results:
            name = result.call.account.name
            if name in runs:
                runs[name] = _count_refusals(runs[name], [result], self.now)
                if runs[name].is_systemic and _find_refusal(result) is not None:
                    result = _reclassify_as_account(result)
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

    def let_others_choose(self) -> None:
        """Let the other thread choose: this pass has chosen all that it wanted."""
        if self._chooses:
            self._chooses = False
            self._pool.lock.release()


def _get_run(candidate: Candidate) -> RefusalRunSnapshot:
    return candidate.refusals or RefusalRunSnapshot(account_id=candidate.id)


def _count_refusals(run: RefusalRunSnapshot, results: Sequence[Result], now: dt.datetime) -> RefusalRunSnapshot:
    for result in results:
        if isinstance(result.outcome, Accepted):
            run = refusal_runs.observe_acceptance(run, now)
        elif (refusal := _find_refusal(result)) is not None:
            run = refusal_runs.observe_refusal(run, refusal, now)
    return run


def _find_refusal(result: Result) -> Refusal | None:
    """Return the refusal, if it looks like the email's fault."""
    outcome = result.outcome
    if not isinstance(outcome, Refused) or outcome.failure_class != FailureClass.MESSAGE:
        return None
    return Refusal(
        mark=refusal_runs.hash_recipients(recipient.address for recipient in result.call.mail.open_recipients),
        of_mailbox=bool(outcome.refused) and all(refusal.permanent for refusal in outcome.refused),
        reason=outcome.reason,
    )


def _reclassify_as_account(result: Result) -> Result:
    outcome = result.outcome
    assert isinstance(outcome, Refused)  # noqa: S101 (the caller looked)
    reason = f"{outcome.reason} (This account refuses every email, so this counts as an account failure.)"
    return dataclasses.replace(
        result, outcome=dataclasses.replace(outcome, failure_class=FailureClass.ACCOUNT, reason=reason)
    )


def _summarize(results: Sequence[Result], epoch: int, now: dt.datetime, *, in_flight: int) -> Observation:
    answers = [result.outcome for result in results if not isinstance(result.outcome, NotAttempted)]
    failures = [answer for answer in answers if retry_policy.is_provider_failure(answer)]
    waits = [wait for answer in answers if (wait := _read_account_wait(answer)) is not None]
    full = [answer for answer in answers if isinstance(answer, Refused) and answer.at_capacity]
    most = max((answer.calls_at_once for answer in full), default=0)
    last = failures[-1] if failures else None
    return Observation(
        epoch=epoch,
        answered=len(answers) - len(failures),
        failures=len(failures),
        last_failure=last.reason if last is not None and not isinstance(last, Accepted) else "",
        limited_until=now + dt.timedelta(seconds=max(waits)) if waits else None,
        at_once=(most or in_flight) if full else in_flight + len(answers),
        at_capacity=bool(full),
    )


def _read_account_wait(outcome: Accepted | Refused | Unknown) -> float | None:
    """Return the seconds that the account shall rest: what was said of one mailbox or one message does not count."""
    match outcome:
        case Accepted() | Refused(failure_class=FailureClass.RECIPIENT | FailureClass.MESSAGE):
            return None
    return outcome.retry_after
