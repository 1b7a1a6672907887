"""Duration of the aftermath of an outage: `python bench/catch_up.py [--worker-rate 1000] [--seed 4]`.

A simulation, no measurement. First: no worker runs for a while; mails are sent oldest first, as a dispatcher claims them.
Then: every provider refuses every mail for a while and no breaker opens, so that mails go through their rounds, by the
product's own decision (`mails.dispatch.retry_policy`) and its default back-off.
"""

import argparse
import datetime as dt
import heapq
import random
import sys
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Mercury is no installed package

from mails.dispatch import retry_policy
from providers.outcomes import FailureClass

RATES = (10, 100)  # emails per second
OUTAGES = {"5 min": 300, "1 h": 3600}  # seconds
WORKERS = (1, 2, 4)
BACKOFF = tuple(dt.timedelta(minutes=minutes) for minutes in (0.5, 2, 10, 30, 60, 120))
EXPIRY = 3 * 86_400.0  # seconds
TICK = 0.1  # seconds of the first simulation


@dataclass(frozen=True, slots=True)
class Aftermath:
    """Emails that an outage delayed; times in seconds."""

    backlog: int
    catch_up: float  # from its end until a new mail leaves at once again
    longest: float  # that an email waited
    late: int  # emails that waited longer than a minute, when `oldest_waiting` speaks up


def without_workers(rate: int, outage: int, capacity: float, draw: random.Random) -> Aftermath:
    """Simulate emails that arrive at random; nothing is sent for `outage` seconds, then `capacity` mails a second leave, oldest first."""
    waiting: deque[float] = deque()  # when each came in
    now, next_at, allowance = 0.0, draw.expovariate(rate), 0.0
    backlog = late = 0
    longest = 0.0
    while now < outage or waiting:
        now += TICK
        while next_at < now:
            waiting.append(next_at)
            next_at += draw.expovariate(rate)
        if now < outage:
            backlog = len(waiting)
            continue
        allowance += capacity * TICK
        while allowance >= 1 and waiting:
            at = waiting.popleft()
            allowance -= 1
            longest = max(longest, now - at)
            late += now - at > 60
    return Aftermath(backlog, now - outage, longest, late)


@dataclass(slots=True)
class Rounds:
    """Emails that went through rounds of back-off; times in seconds."""

    sent_at: list[float] = field(default_factory=list)
    rounds: int = 0
    busiest: int = 0  # emails that were due in one second, at most


def through_rounds(rate: int, outage: int, draw: random.Random) -> Rounds:
    """Simulate emails that arrive during the outage; each is retried when its back-off is over."""
    due = [(came / rate, 1, came / rate) for came in range(rate * outage)]
    heapq.heapify(due)
    found, seconds = Rounds(), Counter[int]()
    while due:
        at, number, came = heapq.heappop(due)
        found.rounds += 1
        if number > 1:
            seconds[int(at)] += 1
        if at >= outage:
            found.sent_at.append(at)
            continue
        step = retry_policy.wait_or_discard(
            failure_classes=[FailureClass.PROVIDER],
            round_number=number,
            attempts=number,
            time_left=EXPIRY - (at - came),
            backoff=BACKOFF,
            account_free_in=None,
            jitter=draw.uniform(-1, 1),
        )
        match step:
            case retry_policy.Wait(seconds=wait):
                heapq.heappush(due, (at + wait, number + 1, came))
            case retry_policy.Discard(info):
                raise SystemExit(f"A deferral ends with the email's time alone, not so: {info}.")
    found.busiest = max(seconds.values())
    return found


def print_rounds(rate: int, words: str, outage: int, seed: int) -> None:
    """Print one line."""
    found = through_rounds(rate, outage, random.Random(seed))
    sent = sorted(at - outage for at in found.sent_at)
    mails = rate * outage
    p50, p99 = (sent[min(len(sent) - 1, len(sent) * part // 100)] for part in (50, 99))
    print(
        f"{words:5} of refusals, {rate:3} emails/s, no breaker: {found.rounds / mails:4.2f} rounds an email,"
        f" at most {found.busiest / rate:3.1f} x the rate due again in a second;"
        f" sent after its end: half within {p50 / 60:4.1f} min, 99 % within {p99 / 60:4.1f}, the last after {sent[-1] / 60:4.1f}"
    )


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worker-rate", type=float, default=1000.0, help="Emails per second of one worker.")
    parser.add_argument("--workers", type=int, action="append", help="How many workers (repeatable).")
    parser.add_argument("--rate", type=int, action="append", help="Emails per second that come in (repeatable).")
    parser.add_argument("--seed", type=int, default=4)
    options = parser.parse_args()
    for words, outage in OUTAGES.items():
        for rate in options.rate or RATES:
            for workers in options.workers or WORKERS:
                capacity = workers * options.worker_rate
                if capacity <= rate:
                    parser.error(f"{workers} workers send {capacity:.0f} emails/s, and {rate} come in.")
                left = without_workers(rate, outage, capacity, random.Random(options.seed))
                print(
                    f"{words:5} without workers, {rate:3} emails/s, then {workers} of {options.worker_rate:.0f} emails/s:"
                    f" {left.backlog:6} wait, caught up {left.catch_up:6.1f} s later;"
                    f" {left.late} mails waited over a minute, the longest {left.longest / 60:.1f} min",
                    flush=True,
                )
    for words, outage in OUTAGES.items():
        for rate in options.rate or RATES:
            print_rounds(rate, words, outage, options.seed)


if __name__ == "__main__":
    main()
