"""Measure if emails that cannot leave slow down others: `python bench/routes.py [--mails N] [--bound N] [--leg …]`.

Sends emails alone first. Then many older emails wait that may use one account only (`routing_constraint`), while that
account is disabled, has used up its rate limit, has an open breaker, or waits for an answer on its only connection; and as
many others as before are sent. Prints both rates, and what the waiting emails cost: rows of theirs that were written or
locked, and events. In the end the account recovers, and all of them are sent.
"""

import argparse
import datetime as dt
import hashlib
import time
from collections.abc import Callable
from typing import NamedTuple

import dispatch
import instance
import sink
from instance import LEGS, WORDS, Instance, ServiceMissing, wait_until

BOUND_TO = "hades"
ROUNDS = 2  # times that each situation is measured
LONG = dt.timedelta(hours=12)


def bind() -> None:
    """Bind the emails that wait to one account."""
    from mails.models import Mail

    Mail.objects.filter(status="queued").update(routing_constraint={"via": BOUND_TO})


def disable() -> None:
    """Disable the account, as an operator does."""
    from providers.accounts import registration
    from providers.models import Account

    registration.update(Account.objects.get(name=BOUND_TO), enabled=False, by="bench")


def use_up_rate() -> None:
    """Let the account have used up its rate limit for hours."""
    from mercury.lib.database import database_clock
    from providers.models import Account, Breaker

    Account.objects.filter(name=BOUND_TO).update(rate=1.0)
    Breaker.objects.filter(account__name=BOUND_TO).update(next_call_at=database_clock.now() + LONG)


def open_breaker() -> None:
    """Open the breaker of the account for hours."""
    from mercury.lib.database import database_clock
    from providers.models import Breaker

    Breaker.objects.filter(account__name=BOUND_TO).update(
        state="open", opened_at=database_clock.now(), open_until=database_clock.now() + LONG
    )


def hang() -> None:
    """Store an email that the account will never answer, before all others, so that it is in progress during a run.

    It is one that may have been sent when the run ends, and held for that.
    """
    from mails.models import Mail

    dispatch.fill(1)
    mail = Mail.objects.filter(status="queued").latest("id")
    Mail.objects.filter(pk=mail.pk).update(
        subject=sink.UNANSWERED,
        delivery_guarantee="at-most-once",
        routing_constraint={"via": BOUND_TO},
        next_attempt_at=mail.created_at - LONG,
    )


class Situation(NamedTuple):
    """What keeps an account from taking emails. It starts again before each run."""

    strike: Callable[[], None]
    options: str = ""  # of the account


SITUATIONS = {
    "disabled": Situation(disable),
    "rate limit used up": Situation(use_up_rate),
    "breaker open": Situation(open_breaker),
    "connection in use": Situation(hang, "&max_connections=1"),
}


def recover() -> None:
    """Let the account take emails again."""
    from providers.accounts import registration
    from providers.models import Account, Breaker

    Account.objects.filter(name=BOUND_TO).update(rate=None)
    Breaker.objects.filter(account__name=BOUND_TO).update(
        state="closed", opened_at=None, open_until=None, next_call_at=None, limited_until=None
    )
    registration.update(Account.objects.get(name=BOUND_TO), enabled=True, by="bench")


def load_accounts() -> None:
    """Store the accounts of the environment."""
    from providers.accounts import registry

    registry.sync()


def read_seconds(after: dt.datetime, mails: int) -> float:
    """Return the seconds from the first attempt opened to the last one closed, of as many emails stored after a moment."""
    from django.db.models import Max, Min

    from mails.models import Attempt, Mail

    done = Mail.objects.filter(status="done", created_at__gt=after).count()
    if done != mails:
        raise SystemExit(f"Of {mails} emails {done} are done.")
    times = Attempt.objects.filter(mail__created_at__gt=after).aggregate(first=Min("opened_at"), last=Max("closed_at"))
    seconds: float = (times["last"] - times["first"]).total_seconds()
    return seconds


def read_now() -> dt.datetime:
    """Return the time of the database's clock."""
    from mercury.lib.database import database_clock

    return database_clock.now()


def read_bound() -> tuple[int, int, str]:
    """Return the number of emails that wait, of their events, and a digest of their rows and of who wrote or locked them."""
    from django.db import connection

    from mails.models import Event, Mail

    hidden = "xmin, xmax, " if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {hidden} id, status, attempt_count, next_attempt_at, last_event_at FROM mails_mail"
            " WHERE routing_constraint IS NOT NULL AND subject <> %s ORDER BY id",
            [sink.UNANSWERED],
        )
        rows = cursor.fetchall()
    bound = Mail.objects.filter(routing_constraint__isnull=False).exclude(subject=sink.UNANSWERED)
    digest = hashlib.sha256(repr([list(map(str, row)) for row in rows]).encode()).hexdigest()
    return len(rows), Event.objects.filter(mail_id__in=bound.values("pk")).count(), digest[:12]


class Figures(NamedTuple):
    """Figures of one run."""

    rate: float  # emails per second
    cpu: float  # seconds of CPU of the worker, its start included: a busy machine changes it less than the rate


def send(built: Instance, mails: int) -> Figures:
    """Store these emails, let a worker send them, and return its figures."""
    began = built.run(read_now)
    built.run(dispatch.fill, mails)
    cpu = _run_worker(built, mails)
    return Figures(mails / built.run(read_seconds, began, mails), cpu)


def _run_worker(built: Instance, mails: int) -> float:
    """Run a worker until the provider has accepted these emails, and return the seconds of CPU that it used."""
    expected = built.provider.count() + mails
    worker = built.start("manage.py", "worker")
    wait_until(lambda: built.provider.count() >= expected, seconds=1200, explain=built.provider.count)
    worker.terminate()
    return instance.wait_for(worker)


def measure(leg: str, mails: int, bound: int) -> None:
    """Print the figures of a leg."""
    with instance.build(leg) as built:
        _set_options(built, "")
        built.provider.start_afresh(delay_ms=0)
        built.run(load_accounts)
        alone = {words: _measure_best(built, situation, mails) for words, situation in SITUATIONS.items()}
        built.run(dispatch.fill, bound)
        built.run(bind)
        for words, situation in SITUATIONS.items():
            before = built.run(read_bound)
            behind = _measure_best(built, situation, mails)
            is_same = built.run(read_bound) == before
            print(
                f"{WORDS[leg]:26} {words:18}: {mails} emails alone {alone[words].rate:5.0f} emails/s, behind {before[0]} bound"
                f" to the account {behind.rate:5.0f} ({behind.rate / alone[words].rate:.2f} x), CPU"
                f" {behind.cpu / alone[words].cpu:.2f} x;"
                f" of those {'none was written or locked, no event' if is_same else 'SOME WERE CHANGED'}",
                flush=True,
            )
        built.run(recover)
        accepted, began = built.provider.count(), time.monotonic()
        _run_worker(built, bound)
        rate = bound / (time.monotonic() - began)
        left, twice = built.run(count_waiting), built.provider.count() - accepted - bound
        print(f"{'':26} it takes emails again: {rate:5.0f} emails/s, {left} are left, {twice} sent twice", flush=True)


def _measure_best(built: Instance, situation: Situation, mails: int) -> Figures:
    built.run(recover)
    _set_options(built, situation.options)
    runs = []
    for _ in range(ROUNDS):
        built.run(situation.strike)
        runs.append(send(built, mails))
    _set_options(built, "")
    return Figures(max(run.rate for run in runs), min(run.cpu for run in runs))


def _set_options(built: Instance, options: str) -> None:
    built.environment["PROVIDER_HADES"] = built.environment["PROVIDER_OLYMPUS"] + options


def count_waiting() -> int:
    """Return the number of emails that are not sent, without those that are never answered."""
    from mails.models import Mail

    return Mail.objects.exclude(status="done").exclude(subject=sink.UNANSWERED).count()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=1000, help="Number of emails that are free to leave.")
    parser.add_argument("--bound", type=int, default=20_000, help="Number of emails that wait for one account.")
    parser.add_argument("--leg", choices=(*LEGS, "both"), default="both")
    options = parser.parse_args()
    instance.check_mails(parser, options.mails)
    instance.say_what("Capacity per route", options.mails)
    for leg in LEGS if options.leg == "both" else (options.leg,):
        try:
            measure(leg, options.mails, options.bound)
        except ServiceMissing as missing:
            raise SystemExit(f"{WORDS[leg]}: {missing}. Start it, or choose --leg embedded.") from missing


if __name__ == "__main__":
    main()
