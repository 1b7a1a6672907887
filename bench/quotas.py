"""Show that quotas are exact with several workers: `python bench/quotas.py [--mails N] [--quota N] [--workers N] [--leg …]`.

Emails wait for one account with a daily quota, and workers send what it allows: exactly the quota must arrive at the local
provider. Then the same with a warm-up, of which the hours until now are allowed; with a second account as overflow, which
must get the rest; and with a worker that is killed (SIGKILL) and replaced while it sends: never more than the quota. In
the end all emails are sent once without quotas and once with one that is never reached, to show what counting costs.
"""

import argparse
import datetime as dt
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import dispatch
import instance
from instance import LEGS, WORDS, Instance, ServiceMissing, wait_until

from mercury.tests.instance import kill

QUIET = 4.0  # seconds without a change after which nothing more comes: workers look into the database every 2 s
NEVER_REACHED = 1_000_000


class Counts(NamedTuple):
    """What the database says."""

    used: int  # of the quota of `olympus`
    allowed: int  # by its limits, now
    in_progress: int  # emails
    accepted: Mapping[str, int]  # attempts, by account


def set_limits(limits: Mapping[str, object]) -> None:
    """Give the account these quotas."""
    from providers.accounts import registration, registry
    from providers.models import Account

    registry.sync()
    registration.update(Account.objects.get(name="olympus"), quota=limits, by="bench")


def _begin_warm_up(step: int) -> str:
    """Return a warm-up that begins today with this number of emails."""
    return f"{dt.datetime.now(dt.UTC):%Y-%m-%d}:{step}"


def read_counts() -> Counts:
    """Return the counts as they are now."""
    from django.db.models import Count

    from mails.models import Attempt, Mail
    from mails.states import LEASED
    from mercury.lib.database import database_clock
    from providers.accounts import registry
    from providers.routing.rules import measure_allowances

    candidates = registry.load_candidates()
    allowance = measure_allowances(candidates, database_clock.now())["olympus"]
    accepted = Attempt.objects.filter(state="accepted").values_list("account").annotate(Count("pk"))
    return Counts(
        used=allowance.use.day_used,
        allowed=allowance.use.day_used + allowance.left,
        in_progress=Mail.objects.filter(status__in=LEASED).count(),
        accepted=dict(accepted),
    )


def _wait_until_quiet(built: Instance) -> Counts:
    """Wait until no email is in progress and nothing has arrived for some seconds, and return the counts."""
    arrived, since = -1, time.monotonic()
    while True:
        now = built.provider.count()
        if now != arrived:
            arrived, since = now, time.monotonic()
        elif time.monotonic() - since > QUIET:
            counts = built.run(read_counts)
            if not counts.in_progress:
                return counts
            since = time.monotonic()
        time.sleep(0.1)


def _send(built: Instance, mails: int, workers: int, *, kill_one: bool = False) -> Counts:
    """Store emails, let workers send what they may, and return the counts. `kill_one`: with SIGKILL, and replace it."""
    built.run(dispatch.fill, mails)
    processes = [built.start("manage.py", "worker") for _ in range(workers)]
    if kill_one:
        wait_until(lambda: built.provider.count() > 0, seconds=120)
        kill(processes.pop())
        processes.append(built.start("manage.py", "worker"))
    counts = _wait_until_quiet(built)
    for process in processes:
        process.terminate()
        instance.wait_for(process)
    return counts


@contextmanager
def _limited(leg: str, limits: Mapping[str, object], *, delay_ms: float = 0) -> Iterator[Instance]:
    """Build an instance whose account has these quotas."""
    with instance.build(leg) as built:
        built.provider.start_afresh(delay_ms=delay_ms)
        built.run(set_limits, limits)
        yield built


def _report(leg: str, what: str, *, arrived: int, expected: int, exact: bool) -> None:
    well = arrived == expected if exact else arrived <= expected
    relation = "exactly" if exact else "at most"
    print(
        f"{WORDS[leg]:26} {what:34}: {arrived} arrived, {relation} {expected} may: {'yes' if well else 'NO'}",
        flush=True,
    )
    if not well:
        raise SystemExit(1)


def measure(leg: str, mails: int, quota: int, workers: int) -> None:
    """Print the figures of a leg; end with 1 if a quota was exceeded, or was not used up."""
    with _limited(leg, {"daily_quota": quota}) as built:
        _send(built, mails, workers)
        _report(leg, f"daily quota, {workers} workers", arrived=built.provider.count(), expected=quota, exact=True)
    with _limited(leg, {"warm_up": _begin_warm_up(4 * quota)}) as built:
        counts = _send(built, mails, workers)
        arrived = built.provider.count()
        _report(leg, "warm-up, the hours until now", arrived=arrived, expected=min(mails, counts.allowed), exact=True)
    with _limited(leg, {"daily_quota": quota}) as built:
        built.environment["PROVIDER_HADES"] = built.environment["PROVIDER_OLYMPUS"] + "&priority=2"
        accepted = _send(built, mails, workers).accepted
        _report(leg, "with overflow: the quota's", arrived=accepted["olympus"], expected=quota, exact=True)
        _report(leg, "with overflow: the rest", arrived=accepted["hades"], expected=mails - quota, exact=True)
    with _limited(leg, {"daily_quota": quota}, delay_ms=50) as built:
        counts = _send(built, mails, workers, kill_one=True)
        _report(leg, "a worker killed while it sends", arrived=built.provider.count(), expected=quota, exact=False)
        print(f"{'':26} counted as used: {counts.used}", flush=True)


def compare(leg: str, mails: int, workers: int) -> None:
    """Print what counting costs."""
    for words, limits in {"no quota": {}, "a quota never reached": {"daily_quota": NEVER_REACHED}}.items():
        with instance.build(leg) as built:
            built.provider.start_afresh(delay_ms=0)
            built.run(set_limits, limits)
            built.run(dispatch.fill, mails)
            processes = [built.start("manage.py", "worker", "--burst") for _ in range(workers)]
            cpu = sum(instance.wait_for(process) for process in processes)
            records = built.run(dispatch.read_records)
            figures = dispatch.Figures.of(mails, records.seconds, cpu, 0.0)
            print(f"{WORDS[leg]:26} {words:22} {workers} workers: {figures}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=5000)
    parser.add_argument("--quota", type=int, default=1000)
    parser.add_argument("--workers", type=int, default=4, help="On the embedded leg 2 at most.")
    parser.add_argument("--leg", choices=(*LEGS, "both"), default="both")
    options = parser.parse_args()
    instance.check_mails(parser, options.mails)
    instance.say_what("Quotas", options.mails)
    for leg in LEGS if options.leg == "both" else (options.leg,):
        workers = options.workers if leg == "full" else min(options.workers, 2)
        try:
            measure(leg, options.mails, options.quota, workers)
            compare(leg, options.mails, workers)
        except ServiceMissing as missing:
            raise SystemExit(f"{WORDS[leg]}: {missing}. Start it, or choose --leg embedded.") from missing


if __name__ == "__main__":
    main()
