"""Why an email that is on its way does not leave now: sending is paused, no account can take it, or no worker runs.

One answer for pages, API and commands: `over` for one email, `Surroundings` for many.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from django.db.models import Count

from mails import house, pauses
from mails.models import HouseHold, LanePause, Mail, Worker
from mails.sentences import clock
from mails.states import DUE, LEASED, SILENCE
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.accounts.registry import Candidate
from providers.health import rate_limit
from providers.models import AccountSource
from providers.routing.choose import choose
from providers.routing.rules import NO_CONSTRAINT, Evaluated, RoutingConstraint

NAMED_AT_MOST = 8  # accounts in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacle:
    """One account that cannot take the email now. `until`: when it can, where time alone settles that."""

    account: str
    reason: str
    until: dt.datetime | None = None

    @property
    def words(self) -> str:
        """`olympus (breaker open until 10:14:03 UTC)`."""
        return f"{self.account} ({self.reason}{f' until {_when(self.until)}' if self.until else ''})"


@dataclass(frozen=True, slots=True)
class Stop:
    """What keeps an email from leaving now; each part empty where it does not."""

    hold: HouseHold | None = None
    pause: LanePause | None = None
    obstacles: tuple[Obstacle, ...] = ()  # every account, where none can take it
    worker: str = ""  # why no worker takes it, in a sentence

    @property
    def mark(self) -> str:
        """A short text that is another one when something else keeps the email; empty where nothing does."""
        hold = f"house-{self.hold.pk}" if self.hold else ""
        pause = f"lane-{self.pause.pk}" if self.pause else ""
        others = [*(one.words for one in self.obstacles), self.worker]
        digest = hashlib.sha256("\n".join(others).encode()).hexdigest()[:12] if any(others) else ""
        return ".".join(filter(None, (hold, pause, digest)))

    @property
    def words(self) -> list[str]:
        """A sentence for each."""
        told = []
        if self.hold:
            since = f"since {self.hold.held_at:%Y-%m-%d %H:%M} UTC by {self.hold.who}"
            told.append(f"Sending is paused {since}: nothing is sent until somebody resumes it.")
        if self.pause:
            since = f"since {self.pause.paused_at:%Y-%m-%d %H:%M} UTC by {self.pause.who}"
            told.append(f"Queue {self.pause.lane} is paused {since}: its emails wait until it is resumed.")
        return [*told, *self.why_not_accounts, *([self.worker] if self.worker else [])]

    @property
    def why_not_accounts(self) -> list[str]:
        """The accounts that cannot take it, and when the first of them can."""
        if not self.obstacles:
            return []
        named = ", ".join(one.words for one in self.obstacles[:NAMED_AT_MOST])
        more = len(self.obstacles) - NAMED_AT_MOST
        first = min((one.until for one in self.obstacles if one.until), default=None)
        then = f"The first can take it at {_when(first)}." if first else "It waits until an operator changes that."
        return [f"No account can take this email now: {named}{f' and {more} more' if more > 0 else ''}. {then}"]


NO_STOP = Stop()
NO_ACCOUNT = Obstacle(account="none", reason="no provider account exists")


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Everything outside an email that decides whether it can leave now, read once for as many emails as are shown."""

    now: dt.datetime
    hold: HouseHold | None = None
    pauses: Mapping[str, LanePause] = field(default_factory=dict)
    candidates: Sequence[Candidate] = ()
    in_flight: Mapping[str, int] = field(default_factory=dict)  # calls by account
    workers: Sequence[Worker] = ()  # those alive

    @classmethod
    def read(cls) -> Surroundings:
        """Read them: five queries, each by an index or of a small table."""
        now = database_clock.now()
        calls = Mail.objects.filter(status__in=LEASED).order_by().values_list("provider").annotate(Count("pk"))
        return cls(
            now=now,
            hold=house.hold(),
            pauses=pauses.standing(),
            candidates=registry.load_candidates(),
            in_flight=dict(calls),
            workers=list(Worker.objects.filter(seen_at__gte=now - SILENCE)),
        )

    def over(self, mail: Mail) -> Stop:
        """Return what keeps this email; nothing for one that is not on its way, or that a provider has right now."""
        if mail.status not in {*DUE, *LEASED}:
            return NO_STOP
        hold, pause = self.hold, self.pauses.get(mail.lane)
        if mail.status in LEASED:
            return Stop(hold, pause)
        return Stop(hold, pause, self._obstacles(mail), "" if hold or pause else self._worker(mail))

    def _obstacles(self, mail: Mail) -> tuple[Obstacle, ...]:
        bounds = RoutingConstraint.of(mail.bounds) if mail.bounds else NO_CONSTRAINT
        permits = {
            one.config.name: rate_limit.count_available(one.breaker.next_call_at, one.config.rate, self.now)
            for one in self.candidates
            if one.config.rate
        }
        choice = choose(
            self.candidates,
            now=self.now,
            draw=0.0,
            tried=mail.tried if mail.next_attempt_at and mail.next_attempt_at <= self.now else (),
            bounds=bounds,
            in_flight=self.in_flight,
            permits=permits,
        )
        if choice.candidate is not None:
            return ()
        hidden = _out_of_use(self.candidates)
        shown = [_obstacle(one, self.now) for one in choice.considered if one.account not in hidden]
        return tuple(sorted(shown, key=lambda one: (one.until is None, one.until or self.now))) or (NO_ACCOUNT,)

    def _worker(self, mail: Mail) -> str:
        mine = [one for one in self.workers if mail.lane in one.lanes]
        if not mine:
            return f"No worker is running for queue {mail.lane}: start one (manage.py worker)."
        if all(one.places and one.in_flight >= one.places for one in mine):
            slots = sum(one.places for one in mine)
            return f"All {slots:,} slots of the workers are in use: it leaves when a provider answers."
        return ""


def over(mail: Mail) -> Stop:
    """Return what keeps this email; no query for one that is not on its way."""
    return Surroundings.read().over(mail) if mail.status in {*DUE, *LEASED} else NO_STOP


def _out_of_use(candidates: Sequence[Candidate]) -> set[str]:
    """Return the default sandboxes, if there are other accounts: then nobody expects email to go there."""
    default = {one.config.name for one in candidates if one.source == AccountSource.DEFAULT}
    return default if len(default) < len(candidates) else set()


def _obstacle(one: Evaluated, now: dt.datetime) -> Obstacle:
    lasts = one.until is not None and (one.until - now).total_seconds() > 2
    if lasts:
        return Obstacle(account=one.account, reason=one.note.partition(" until ")[0], until=one.until)
    return Obstacle(account=one.account, reason=f"{one.note}, {one.remedy}" if one.remedy else one.note)


def _when(moment: dt.datetime) -> str:
    """A time of day, with its date where that is not today."""
    today = database_clock.now().date()
    return clock(moment) if moment.date() == today else f"{moment:%Y-%m-%d} {clock(moment)}"
