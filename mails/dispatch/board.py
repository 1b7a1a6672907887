"""The accounts as one drain sees them: their breakers, its own calls under way, the calls that rate limits grant it.

Read afresh for each group of mails. What it takes (the one probe, calls of a rate limit) it takes by conditional
UPDATE, so that all machines together keep to it.
"""

import dataclasses
import datetime as dt
import random
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from mails.dispatch import policy
from mails.dispatch.steps import Call, Result
from mails.states import Actor
from providers import circuit_breaker, limits, registry, routing
from providers.circuit_breaker import Snapshot, Tally
from providers.models import Breaker
from providers.outcomes import Accepted, Refused
from providers.registry import Candidate
from providers.routing import Choice

log = structlog.get_logger(__name__)


class Board:
    """Used by one drain, from its database thread only."""

    def __init__(self, *, places: int, probe_lease: dt.timedelta) -> None:
        self._places = places
        self._probe_lease = probe_lease
        self._candidates: list[Candidate] = []
        self._under_way: dict[uuid.UUID, str] = {}  # attempt -> account
        self._in_flight: Counter[str] = Counter()
        self._begun: list[Call] = []
        self._granted: dict[str, int] = {}

    @contextmanager
    def turn(self, now: dt.datetime) -> Iterator[None]:
        """One turn of the drain: accounts and breakers are read, and what was begun is undone if the turn fails."""
        self._refresh(now)
        self._begun = []
        try:
            yield
        except Exception:
            self.never_began(self._begun)
            raise

    def _refresh(self, now: dt.datetime) -> None:
        self._candidates = registry.candidates()
        for candidate in self._candidates:
            if candidate.config.rate:
                self._granted[candidate.config.name] = limits.available(
                    candidate.breaker.next_call_at, candidate.config.rate, now
                )

    def capacity(self, now: dt.datetime) -> int:
        """How many mails could be handed over now."""
        return routing.capacity(
            self._candidates, now=now, in_flight=self._in_flight, places=self._share(), permits=self._granted
        )

    def next_chance(self, now: dt.datetime) -> float:
        """Seconds until it is worth to look again when the capacity was 0: at least 20 ms, at most 2 s."""
        considered = self._choose(now, tried=(), places=self._share()).considered
        waits = [(one.until - now).total_seconds() for one in considered if one.until]
        return min(max(min(waits, default=2.0), 0.02), 2.0)

    def choose(self, tried: Sequence[str], now: dt.datetime, *, first: bool) -> Choice:
        """Choose an account for a mail that these have refused, and take what the choice needs.

        A mail that already holds a place may use it with any account; only the `first` choice is bound to an
        account's share of the places.
        """
        while True:
            choice = self._choose(now, tried=tried, places=self._share() if first else None)
            if choice.candidate is None or self._take(choice.candidate, now, probe=choice.probe):
                return choice
            self._refresh(now)

    def began(self, call: Call) -> None:
        """A call is about to be made, if its turn is committed."""
        self._under_way[call.attempt.id] = call.account.name
        self._in_flight[call.account.name] += 1
        self._begun.append(call)

    def never_began(self, calls: Iterable[Call]) -> None:
        """These calls will not be made."""
        for call in calls:
            self._end(call)

    def ended(self, results: Iterable[Result]) -> None:
        """Calls came back. Saying so twice changes nothing."""
        for result in results:
            self._end(result.call)

    def _end(self, call: Call) -> None:
        if self._under_way.pop(call.attempt.id, None):
            self._in_flight[call.account.name] -= 1

    def observe(self, results: Sequence[Result], now: dt.datetime) -> None:
        """Tell the breakers what a group of calls came to; an account that gave no news costs no write."""
        known = {candidate.config.name: candidate for candidate in self._candidates}
        groups: dict[tuple[str, int], list[Result]] = defaultdict(list)
        for result in results:
            groups[result.call.account.name, result.call.epoch].append(result)
        for (name, epoch), group in groups.items():
            if (candidate := known.get(name)) is not None:
                self._observe(candidate, _tally(group, epoch, now), now)

    def _observe(self, candidate: Candidate, tally: Tally, now: dt.datetime) -> None:
        def after(breaker: Snapshot) -> Snapshot:
            return circuit_breaker.observe(breaker, tally, now)

        if after(candidate.breaker) == candidate.breaker:
            return
        try:
            self._replace(candidate, circuit_breaker.change(candidate.id, after, by=Actor.DISPATCHER))
        except Breaker.DoesNotExist:
            log.info("account_removed_meanwhile", account=candidate.config.name)

    def _share(self) -> int | None:
        """At most half of the places for one account, so that one that hangs cannot starve the rest."""
        usable = [one for one in self._candidates if one.enabled and one.configured]
        return max(1, self._places // 2) if len(usable) > 1 else None

    def _choose(self, now: dt.datetime, *, tried: Sequence[str], places: int | None) -> Choice:
        return routing.choose(
            self._candidates,
            now=now,
            draw=random.random(),  # noqa: S311 (a share of the load, not a secret)
            tried=tried,
            in_flight=self._in_flight,
            places=places,
            permits=self._granted,
        )

    def _take(self, candidate: Candidate, now: dt.datetime, *, probe: bool) -> bool:
        """Take the probe and the rate limit's call; False if another drain was faster."""
        before, name = candidate.breaker, candidate.config.name
        after = circuit_breaker.begin_probe(before, now, self._probe_lease) if probe else before
        if candidate.config.rate:
            after = dataclasses.replace(
                after, next_call_at=limits.take(before.next_call_at, candidate.config.rate, now, 1)
            )
        if after == before:
            return True
        if not circuit_breaker.save(before, after, by=Actor.DISPATCHER):
            return False
        if candidate.config.rate:
            self._granted[name] -= 1
        self._replace(candidate, dataclasses.replace(after, version=before.version + 1))
        return True

    def _replace(self, candidate: Candidate, breaker: Snapshot) -> None:
        fresh = dataclasses.replace(candidate, breaker=breaker)
        self._candidates = [fresh if one.id == candidate.id else one for one in self._candidates]


def _tally(results: Sequence[Result], epoch: int, now: dt.datetime) -> Tally:
    results = [one for one in results if not _says_nothing(one)]
    faults = [one.outcome for one in results if policy.is_providers_fault(one.outcome)]
    waits = [
        one.outcome.retry_after
        for one in results
        if isinstance(one.outcome, Refused) and one.outcome.retry_after is not None
    ]
    last = faults[-1] if faults else None
    return Tally(
        epoch=epoch,
        answered=len(results) - len(faults),
        faults=len(faults),
        last_fault=last.reason if last is not None and not isinstance(last, Accepted) else "",
        limited_until=now + dt.timedelta(seconds=max(waits)) if waits else None,
    )


def _says_nothing(result: Result) -> bool:
    """Whether the call came to an end on our side, so that it is no news of the provider, good or bad."""
    outcome = result.outcome
    return isinstance(outcome, Refused) and not outcome.asked and not policy.is_providers_fault(outcome)
