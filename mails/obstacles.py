"""Obstacles: why an email that is on its way does not leave now. Sending is paused, no account can take it, or no worker runs.

One answer for pages, API and commands: `find_obstacles` for one email, `SendingConditions` for many.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from django.db.models import Count

from mails import pauses
from mails.models import Mail, Pause, Worker
from mails.pauses import ActivePauses
from mails.routing.book import NO_RULES, RuleBook, get_book
from mails.routing.load import build_load
from mails.states import DUE, LEASED, WORKER_SILENCE, RecipientState
from mercury.lib.database import database_clock
from mercury.lib.durations import format_moment
from providers.accounts import registry
from providers.accounts.registry import Candidate
from providers.kinds.capabilities import read_needs
from providers.models import AccountSource
from providers.routing.choose import Shortlist
from providers.routing.policy import AccountPolicy
from providers.routing.rules import NO_TRAITS, AccountEvaluation, Route, RoutingConstraint

_UNTIL = re.compile(" until |; next at ")  # what follows in a note is `until`
NAMED_AT_MOST = 8  # accounts in a sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountObstacle:
    """One account that cannot take the email now. `until`: when it can, where time alone decides that."""

    account: str
    reason: str
    until: dt.datetime | None = None

    @property
    def words(self) -> str:
        """Return account, reason and end: `olympus (breaker open until 10:14:03 UTC)`."""
        return f"{self.account} ({self.reason}{f' until {format_moment(self.until, database_clock.now())}' if self.until else ''})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacles:
    """Everything that keeps an email from leaving now; each part is empty where it does not."""

    sending_pause: Pause | None = None
    queue_pause: Pause | None = None
    accounts: tuple[AccountObstacle, ...] = ()  # every account, where none can take it; with a rule, those it allows
    rule: str = ""  # the name of the routing rule that the email matched
    worker: str = ""  # why no worker takes it, in a sentence

    @property
    def mark(self) -> str:
        """Return a short text that differs when something else keeps the email; empty where nothing does."""
        pauses = [f"pause-{pause.pk}" for pause in (self.sending_pause, self.queue_pause) if pause]
        others = [*(obstacle.words for obstacle in self.accounts), self.worker]
        digest = hashlib.sha256("\n".join(others).encode()).hexdigest()[:12] if any(others) else ""
        return ".".join(filter(None, (*pauses, digest)))

    @property
    def sentences(self) -> list[str]:
        """Return a sentence for each obstacle."""
        sentences = []
        if self.sending_pause:
            since = pauses.describe_start(self.sending_pause)
            sentences.append(f"Sending is paused {since}: nothing is sent until someone resumes it.")
        if self.queue_pause:
            since = pauses.describe_start(self.queue_pause)
            sentences.append(f"Queue {self.queue_pause.queue} is paused {since}: its emails wait until it is resumed.")
        return [*sentences, *self.account_sentences, *([self.worker] if self.worker else [])]

    @property
    def account_sentences(self) -> list[str]:
        """Return a sentence with the accounts that cannot take the email, and when the first of them can."""
        if not self.accounts:
            return []
        named = ", ".join(obstacle.words for obstacle in self.accounts[:NAMED_AT_MOST])
        more = len(self.accounts) - NAMED_AT_MOST
        first = min((obstacle.until for obstacle in self.accounts if obstacle.until), default=None)
        then = (
            f"The first is available at {format_moment(first, database_clock.now())}."
            if first
            else "It waits until an operator changes that."
        )
        which = f"allowed by its routing rule '{self.rule}' " if self.rule else ""
        return [
            f"No account {which}can accept this email now: {named}{f' and {more} more' if more > 0 else ''}. {then}"
        ]


NO_OBSTACLES = Obstacles()
NO_ACCOUNT = AccountObstacle(account="none", reason="no provider account exists")


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingConditions:
    """Everything outside an email that decides whether it can leave now, loaded once for all emails of a list."""

    now: dt.datetime
    pauses: ActivePauses = field(default_factory=ActivePauses)
    candidates: Sequence[Candidate] = ()
    book: RuleBook = NO_RULES
    in_flight: Mapping[str, int] = field(default_factory=dict)  # provider calls by account
    workers: Sequence[Worker] = ()  # those alive

    @classmethod
    def load(cls) -> SendingConditions:
        """Load them: four queries, each by an index or of a small table."""
        now = database_clock.now()
        calls = Mail.objects.filter(status__in=LEASED).order_by().values_list("provider").annotate(Count("pk"))
        return cls(
            now=now,
            pauses=pauses.load_active(),
            candidates=registry.load_candidates(),
            book=get_book(),
            in_flight=dict(calls),
            workers=list(Worker.objects.filter(seen_at__gte=now - WORKER_SILENCE)),
        )

    def find_obstacles(self, mail: Mail) -> Obstacles:
        """Return what keeps this email; nothing for one that is not on its way or scheduled, or that a provider has right now."""
        if mail.status not in {*DUE, *LEASED} or mail.is_scheduled(self.now):
            return NO_OBSTACLES
        paused = Obstacles(sending_pause=self.pauses.all_sending, queue_pause=self.pauses.get(mail.queue))
        if mail.status in LEASED:
            return paused
        is_paused = paused != NO_OBSTACLES
        return replace(
            paused,
            accounts=self._find_account_obstacles(mail),
            rule=self._find_rule(mail),
            worker="" if is_paused else self._find_worker_obstacle(mail),
        )

    def _find_account_obstacles(self, mail: Mail) -> tuple[AccountObstacle, ...]:
        route = Route(
            traits=read_needs(mail.needs) or NO_TRAITS,
            constraint=replace(RoutingConstraint.from_blob(mail.routing_constraint or {}), rule=mail.routing_rule),
            tried=tuple(mail.tried) if mail.next_attempt_at and mail.next_attempt_at <= self.now else (),
        )
        route = self.book.apply(route)
        load = build_load(
            self.candidates,
            in_flight=self.in_flight,
            now=self.now,
            count_recipients=partial(_count_open_recipients, mail),
        )
        choice = Shortlist.build(self.candidates, self.now, route).choose(load, draw=0.0)
        if choice.candidate is not None:
            return ()
        policy = route.constraint.policy
        if policy is not None and not route.constraint.via:
            return _list_rule_obstacles(choice.evaluated, policy, self.now)
        hidden = _find_unused_sandboxes(self.candidates)
        shown = [
            _build_account_obstacle(account, self.now) for account in choice.evaluated if account.account not in hidden
        ]
        names = route.constraint.names
        if names and not any(candidate.config.name in names for candidate in self.candidates):
            gone = AccountObstacle(account=names[0], reason="no such account, and the email may use no other")
            return (gone,)
        return _sort_soonest_first(shown, self.now) or (NO_ACCOUNT,)

    def _find_rule(self, mail: Mail) -> str:
        policy = self.book.policies.get(mail.routing_rule) if mail.routing_rule is not None else None
        is_bypassed = bool((mail.routing_constraint or {}).get("via"))
        return policy.rule if policy is not None and not is_bypassed else ""

    def _find_worker_obstacle(self, mail: Mail) -> str:
        workers = [worker for worker in self.workers if mail.queue in worker.queues]
        if not workers:
            return f"No worker is running for queue {mail.queue}: start one (manage.py worker)."
        if all(worker.concurrency and worker.in_flight >= worker.concurrency for worker in workers):
            slots = sum(worker.concurrency for worker in workers)
            return f"All {slots:,} slots of the workers are in use: it is sent when a request ends."
        return ""


def find_obstacles(mail: Mail) -> Obstacles:
    """Return what keeps this email; no query for one that is not on its way."""
    return SendingConditions.load().find_obstacles(mail) if mail.status in {*DUE, *LEASED} else NO_OBSTACLES


def _count_open_recipients(mail: Mail) -> int:
    return sum(recipient.state == RecipientState.PENDING for recipient in mail.recipients.all())


def _find_unused_sandboxes(candidates: Sequence[Candidate]) -> set[str]:
    """Return the default sandboxes, if there are other accounts: then nobody expects email to go there."""
    default = {candidate.config.name for candidate in candidates if candidate.source == AccountSource.DEFAULT}
    return default if len(default) < len(candidates) else set()


def _list_rule_obstacles(
    evaluated: Sequence[AccountEvaluation], policy: AccountPolicy, now: dt.datetime
) -> tuple[AccountObstacle, ...]:
    """Return the accounts that the email's routing rule allows, and why each cannot take it; the others are no help."""
    if not policy.rule:
        return (AccountObstacle(account="any", reason=policy.explain_exclusion("any")),)
    found = {account.account: account for account in evaluated if account.account in policy.accounts}
    gone = [
        AccountObstacle(account=name, reason=f"no such account, and rule '{policy.rule}' names it")
        for name in policy.accounts
        if name not in found
    ]
    shown = [_build_account_obstacle(account, now) for account in found.values()]
    return (*_sort_soonest_first(shown, now), *gone)


def _sort_soonest_first(obstacles: Sequence[AccountObstacle], now: dt.datetime) -> tuple[AccountObstacle, ...]:
    return tuple(sorted(obstacles, key=lambda obstacle: (obstacle.until is None, obstacle.until or now)))


def _build_account_obstacle(account: AccountEvaluation, now: dt.datetime) -> AccountObstacle:
    lasts = account.until is not None and (account.until - now).total_seconds() > 2
    if lasts:
        return AccountObstacle(
            account=account.account, reason=_UNTIL.split(account.note, maxsplit=1)[0], until=account.until
        )
    reason = f"{account.note}, {account.remedy}" if account.remedy else account.note
    return AccountObstacle(account=account.account, reason=reason)
