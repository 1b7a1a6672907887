"""What a scenario is, and what it works with while it runs: clients, a way to settle, goals with their figures."""

import math
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from chaos import records
from chaos.clients import Clients, Order
from chaos.database import query
from chaos.records import Records
from chaos.testbed import Testbed
from mercury.tests.instance import until

AT_LEAST_ONCE, AT_MOST_ONCE = GUARANTEES = ("at-least-once", "at-most-once")
FORGETFUL = 0.02  # of all requests the client hangs up before the answer, as clients do whose network breaks
SAMPLE, SAMPLE_IN_CI = 200, 20  # mails that are also asked for over HTTP
FORGETFUL_SHORT = 0.2  # with few mails, so that some certainly are
PATIENCE = 900.0  # seconds that clients get


@dataclass(frozen=True, slots=True)
class Goal:
    """A figure that was measured, and what it must be; `holds` is None where it is only told."""

    name: str
    figure: str
    wanted: str = ""
    holds: bool | None = None


@dataclass
class Run:
    """One run of a scenario on a testbed. Its mails are told from others by their subjects, which begin with `subjects`."""

    testbed: Testbed
    mails: int
    delivery_guarantee: str
    short: bool = False  # the version for CI: fewer mails, and shorter spells
    subjects: str = field(default_factory=lambda: f"m{secrets.token_hex(4)}-")
    goals: list[Goal] = field(default_factory=list)
    clients: Clients | None = None
    patience: float = 120.0  # seconds for everything to settle

    @contextmanager
    def posting(
        self, *, rate: float | None = None, threads: int = 8, forgetful: float | None = None, mails: int | None = None
    ) -> Iterator[Clients]:
        """Clients post while the block runs; on leaving it, wait until each mail of theirs is answered.

        May be entered once a run. `forgetful`: share of the requests whose answer the client hangs up on. `mails`:
        instead of the run's number.
        """
        if forgetful is None:
            forgetful = FORGETFUL_SHORT if self.short else FORGETFUL
        orders = [self.order(number) for number in range(mails or self.mails)]
        self.clients = Clients(
            self.testbed.instance.port,
            self.testbed.instance.key,
            orders,
            threads=threads,
            rate=rate,
            forgetful=forgetful,
        )
        self.clients.start()
        try:
            yield self.clients
            if not self.clients.join(PATIENCE):
                raise TimeoutError(f"{len(self.clients.told)} of {len(orders)} mails answered in {PATIENCE:.0f} s")
        finally:
            self.clients.stop()

    def order(self, number: int) -> Order:
        """Return the submission of this number."""
        return Order(f"{self.subjects}{number}", f"{self.subjects}{number}", self.delivery_guarantee)

    def until_posted(self, number: int) -> None:
        """Wait until so many mails have been answered."""
        assert self.clients is not None
        told = self.clients.told
        until(lambda: len(told) >= number, PATIENCE, lambda: f"{len(told)} answered, wanted {number}")

    def settle(self, meanwhile: Callable[[], object] = lambda: None) -> float:
        """Wait until none of the run's mails is due or in hand; the seconds it took. The invariants tell if it was in vain."""

        def settled() -> bool:
            meanwhile()
            return not self.in_hand()

        return self.patiently(settled)

    def patiently(self, condition: Callable[[], bool]) -> float:
        """Wait for the condition as long as the run's patience lasts; the seconds it took."""
        began = time.monotonic()
        while not condition() and time.monotonic() - began < self.patience:
            time.sleep(0.1)
        return time.monotonic() - began

    def in_hand(self) -> int:
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
        return records.read(self.testbed, self.clients.told, subjects=self.subjects, sample=sample)

    def waits(self, began: int = 0, ended: int = 2**63) -> list[float]:
        """Seconds from NEW to the first SEND of each mail that came in between these moments.

        `began`, `ended`: nanoseconds since the Unix epoch. Ask after everything has settled.
        """
        return [
            (mail.first("SEND").at_ns - mail.first("NEW").at_ns) / 1e9
            for mail in self.records.mails.values()
            if mail.count("SEND") and began <= mail.first("NEW").at_ns < ended
        ]

    def first_call_after(self, moment: int) -> float:
        """Seconds from this moment (nanoseconds since the Unix epoch) to the first call that a provider took since."""
        arrived = [taking.at_ns for taking in self.records.taken if taking.at_ns >= moment]
        return (min(arrived) - moment) / 1e9 if arrived else math.inf

    @property
    def unknowns(self) -> int:
        """Unknown outcomes on record."""
        return sum(mail.count("UNKNOWN") for mail in self.records.mails.values())

    @property
    def shortest_way(self) -> float:
        """Milliseconds from a mail's first SEND, as Mercury dates it, to its first arrival: the least of all mails.

        Below zero, a process that sends has read the database's clock wrong.
        """
        taken = self.records.taken_by_mail
        mails = [mail for mail in self.records.mails.values() if mail.id in taken]
        ways = [taken[mail.id][0].at_ns - mail.first("SEND").at_ns for mail in mails]
        return min(ways, default=0) / 1e6

    @property
    def taken_twice(self) -> int:
        """Return the number of emails that providers accepted more than once."""
        return sum(len(takings) > 1 for takings in self.records.taken_by_mail.values())

    def at_most(self, name: str, figure: float, bound: float, unit: str = "") -> None:
        """Record a goal: the figure must not be above the bound."""
        self.goals.append(Goal(name, _told(figure, unit), f"at most {_told(bound, unit)}", holds=figure <= bound))

    def at_least(self, name: str, figure: float, bound: float, unit: str = "") -> None:
        """Record a goal: the figure must not be below the bound."""
        self.goals.append(Goal(name, _told(figure, unit), f"at least {_told(bound, unit)}", holds=figure >= bound))

    def figure(self, name: str, figure: float, unit: str = "") -> None:
        """Record a figure without a goal."""
        self.goals.append(Goal(name, _told(figure, unit)))


def percentile(values: Sequence[float], part: float) -> float:
    """Return the smallest value that `part` (of 100) of all values do not exceed; 0 if there are none."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * part / 100) - 1)] if ordered else 0.0


def _told(figure: float, unit: str) -> str:
    return f"{figure:.10g} {unit}".strip() if float(figure).is_integer() else f"{figure:.2f} {unit}".strip()


@dataclass(frozen=True)
class Scenario:
    """A way to strike. `strike` posts, strikes, settles, and names its goals; the invariants are the runner's business.

    `mails` and `short`: how many in a long run and in CI. `settings`: of Mercury, where they differ from the testbed's.
    `plant`: what of `chaos/bugs.py` is planted into the processes, for faults that only code can have.
    `disk`: MB of a disk that its data have to themselves, 0 for the machine's.
    `rate`: mails a second, where --minutes may ask for a longer run.
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
