"""A scenario, and what it uses while it runs: clients, waiting for the end, goals with their figures."""

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

from chaos import records
from chaos.clients import Answers, ClientRecord, Clients, PlannedMail
from chaos.database import query
from chaos.records import Records
from chaos.testbed import Testbed
from mercury.tests.instance import wait_until

AT_LEAST_ONCE, AT_MOST_ONCE = GUARANTEES = ("at-least-once", "at-most-once")
FORGETFUL = 0.02  # of all requests the client hangs up before the answer, as clients do whose network breaks
SAMPLE, SAMPLE_IN_CI = 200, 20  # emails that are also read over HTTP
FORGETFUL_SHORT = 0.2  # with few emails, so that some certainly are
PATIENCE = 900.0  # seconds that clients get


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that was measured, and what it must be; `holds` is None if it is only reported."""

    name: str
    figure: str
    wanted: str = ""
    holds: bool | None = None


class Submitters(Protocol):
    """Who submits the emails of a run, and what they were answered."""

    client_records: list[ClientRecord]
    answers: Answers


@dataclass
class Run:
    """One run of a scenario on a testbed. The subjects of its emails begin with `subjects`."""

    testbed: Testbed
    mails: int
    delivery_guarantee: str
    short: bool = False  # the version for CI: fewer emails, and shorter failures
    subjects: str = field(default_factory=lambda: f"m{secrets.token_hex(4)}-")
    goals: list[Goal] = field(default_factory=list)
    clients: Submitters | None = None
    timeout: float = 120.0  # seconds in which no email ends, after which nobody waits any more
    send_at: str = ""  # of each email, as clients write it; empty: at once

    @contextmanager
    def post_mails(
        self,
        *,
        rate: float | None = None,
        threads: int = 8,
        forgetful: float | None = None,
        mails: int | None = None,
        batch: int = 0,
    ) -> Iterator[Clients]:
        """Let clients post while the block runs; at its end, wait until each of their emails is answered.

        Use it once per run. `forgetful`: share of the requests whose answer the client hangs up on. `mails`:
        instead of the run's number. `batch`: emails in each request; 0: single ones.
        """
        if forgetful is None:
            forgetful = FORGETFUL_SHORT if self.short else FORGETFUL
        planned_mails = [self.plan_mail(number) for number in range(mails or self.mails)]
        clients = self.clients = Clients(
            self.testbed.instance.port,
            self.testbed.instance.key,
            planned_mails,
            threads=threads,
            rate=rate,
            forgetful=forgetful,
            batch=batch,
        )
        clients.start()
        try:
            yield clients
            if not clients.join(PATIENCE):
                raise TimeoutError(
                    f"{len(clients.client_records)} of {len(planned_mails)} emails answered in {PATIENCE:.0f} s"
                )
        finally:
            clients.stop()

    def plan_mail(self, number: int) -> PlannedMail:
        """Return the submission of this number."""
        subject = f"{self.subjects}{number}"
        return PlannedMail(subject, subject, self.delivery_guarantee, send_at=self.send_at)

    def wait_until_posted(self, number: int) -> None:
        """Wait until `number` emails have been answered."""
        assert self.clients is not None
        client_records = self.clients.client_records
        wait_until(
            lambda: len(client_records) >= number, PATIENCE, lambda: f"{len(client_records)} answered, wanted {number}"
        )

    def wait_until_finished(self, supervise: Callable[[], object] = lambda: None) -> float:
        """Wait until no email of the run is due or being sent, and return the seconds.

        Where none ended during the run's timeout, wait no longer: the invariants fail. Thousands that workers died with
        are sent a few at a time.
        """
        began = progressed = time.monotonic()
        least = self.count_unfinished()
        while least and time.monotonic() - progressed < self.timeout:
            time.sleep(0.1)
            supervise()
            unfinished = self.count_unfinished()
            if unfinished < least:
                least, progressed = unfinished, time.monotonic()
        return time.monotonic() - began

    def wait_for(self, condition: Callable[[], bool]) -> float:
        """Wait for the condition until the run's timeout; return the seconds."""
        began = time.monotonic()
        while not condition() and time.monotonic() - began < self.timeout:
            time.sleep(0.1)
        return time.monotonic() - began

    def count_unfinished(self) -> int:
        """Return how many of the run's emails are due or leased."""
        sql = (
            "SELECT count(*) FROM mails_mail WHERE subject LIKE ?"
            " AND status IN ('queued', 'waiting', 'claimed', 'sending')"
        )
        return int(query(self.testbed.database_url, sql, f"{self.subjects}%")[0][0])

    @cached_property
    def records(self) -> Records:
        """Return the three records, read once: call this after all emails have ended."""
        assert self.clients is not None
        sample = SAMPLE_IN_CI if self.short else SAMPLE
        return records.read(self.testbed, self.clients.client_records, subjects=self.subjects, sample=sample)

    def measure_waits(self, began: int = 0, ended: int = 2**63) -> list[float]:
        """Return the seconds from NEW to the first SEND of each email accepted between these moments.

        `began`, `ended`: nanoseconds since the Unix epoch. Call this after everything has finished.
        """
        return [
            (mail.find_first("SEND").at_ns - mail.find_first("NEW").at_ns) / 1e9
            for mail in self.records.mails.values()
            if mail.count("SEND") and began <= mail.find_first("NEW").at_ns < ended
        ]

    def measure_time_to_first_attempt(self, moment: int) -> float:
        """Return the seconds from this moment (nanoseconds since the Unix epoch) to the next email that a provider accepted."""
        arrived = [delivery.at_ns for delivery in self.records.deliveries if delivery.at_ns >= moment]
        return (min(arrived) - moment) / 1e9 if arrived else math.inf

    @property
    def unknowns(self) -> int:
        """Unknown outcomes on record."""
        return sum(mail.count("UNKNOWN") for mail in self.records.mails.values())

    @property
    def shortest_delivery(self) -> float:
        """Return the shortest time of all emails from the first SEND, as Mercury dates it, to the first arrival, in milliseconds.

        Below zero, a process that sends has read the database's clock wrong.
        """
        deliveries = self.records.deliveries_by_mail
        mails = [mail for mail in self.records.mails.values() if mail.id in deliveries]
        ways = [deliveries[mail.id][0].at_ns - mail.find_first("SEND").at_ns for mail in mails]
        return min(ways, default=0) / 1e6

    @property
    def sent_twice(self) -> int:
        """Return the number of emails that providers accepted more than once."""
        return sum(len(deliveries) > 1 for deliveries in self.records.deliveries_by_mail.values())

    def expect_at_most(self, name: str, figure: float, bound: float, unit: str = "") -> None:
        """Record a goal: the figure must not be above the bound."""
        self.goals.append(Goal(name, _format(figure, unit), f"at most {_format(bound, unit)}", holds=figure <= bound))

    def expect_at_least(self, name: str, figure: float, bound: float, unit: str = "") -> None:
        """Record a goal: the figure must not be below the bound."""
        self.goals.append(Goal(name, _format(figure, unit), f"at least {_format(bound, unit)}", holds=figure >= bound))

    def report(self, name: str, figure: float, unit: str = "") -> None:
        """Record a figure without a goal."""
        self.goals.append(Goal(name, _format(figure, unit)))


def compute_percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that `part` (of 100) of all values do not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * part / 100) - 1)] if ordered else 0.0


def _format(figure: float, unit: str) -> str:
    return f"{figure:.10g} {unit}".strip() if float(figure).is_integer() else f"{figure:.2f} {unit}".strip()


@dataclass(frozen=True)
class Scenario:
    """A test under failure. `strike` submits emails, injects the failure, waits for the end and states its goals; the runner checks the invariants.

    `mails` and `short`: number of emails in a long run and in CI. `settings`: of Mercury, where they differ from the testbed's.
    `plant`: what of `chaos/bugs.py` is planted into the processes, for failures that only code can have.
    `disk`: MB of a disk for its data alone, 0 for the machine's.
    `rate`: emails per second, if --minutes may ask for a longer run.
    """

    name: str
    about: str
    strike: Callable[[Run], None]
    mails: int = 2000
    short: int = 100
    legs: tuple[str, ...] = ("full",)
    guarantees: tuple[str, ...] = (AT_LEAST_ONCE,)
    settings: Mapping[str, str] = field(default_factory=dict)
    plant: str = ""
    disk: int = 0
    rate: float = 0.0
