"""Time of lists, pages and statistics: `python bench/read.py [--mails N]`.

Fills PostgreSQL with a million mails and their seven million events over 30 days, with some that were discarded, are
held or wait, and with the roll-ups of as many days; then asks what people and programs ask, and prints how long each
answer took, from the request to its last byte, in this process: the first time, and the median of five more.
"""

import argparse
import datetime as dt
import random
import statistics
import time
from collections.abc import Callable

import fill
import instance
from django.http import HttpResponse

MAILS = 1_000_000
WAITING = 3000  # emails that are not sent yet
DAYS = 30
TIMES = 5


def measure(mails: int) -> None:
    """Fill a instance and print the times."""
    with instance.build("full") as built:
        key = built.run(instance.make_key)
        began = time.monotonic()
        built.run(fill_in, mails)
        print(f"filled within {time.monotonic() - began:.0f} s", flush=True)
        built.run(ask, key, mails)


def fill_in(mails: int) -> None:
    """Insert emails that are done, some that are not, and roll-ups of a month of such traffic."""
    from django.db import connection

    from mails.models import ApiKey

    fill.history(mails, days=DAYS, api_key=ApiKey.objects.get().pk)
    number = "substr(subject, 6)::int"
    changes = (
        (f"mod({number}, 100) = 0", "status = 'discarded', failure_class = 'message', reason_code = 'http-400'"),
        (f"mod({number}, 5000) = 1", "status = 'held', finished_at = NULL, reason_code = 'outcome-unknown'"),
        (
            f"{number} > {mails - WAITING}",
            """status = 'waiting', finished_at = NULL, failure_class = 'provider', reason_code = 'http-503',
            next_attempt_at = now() + (random() - 0.3) * interval '1 hour'""",
        ),
    )
    with connection.cursor() as cursor:
        for condition, change in changes:
            cursor.execute(f"UPDATE mails_mail SET {change} WHERE {condition}")
    _fill_rollups(mails)
    fill.vacuum()


def _fill_rollups(mails: int) -> None:
    """Roll-ups of every level, each stretch with what a day's traffic would have put into it."""
    from mails.models import PeriodicTask, Rollup
    from mails.reporting import rollups
    from mails.states import Level
    from mercury.lib.database import database_clock

    now, draw = database_clock.now(), random.Random(1)
    PeriodicTask.objects.create(name=rollups.TASK, done_until=now)
    rows = []
    for level, length in rollups.LENGTHS.items():
        kept = min(rollups.KEPT[level], dt.timedelta(days=DAYS))
        per_stretch = max(1, int(mails / DAYS * (length / dt.timedelta(days=1))))
        first = rollups.floor_to_level(now, level)
        for number in range(kept // length):
            rows += _stretch(level, first - number * length, per_stretch, draw)
    rows += _stretch(Level.EVER, rollups.EPOCH, mails, draw)
    Rollup.objects.bulk_create([Rollup(**row) for row in rows], batch_size=2000)


def _stretch(level: str, start: dt.datetime, mails: int, draw: random.Random) -> list[dict[str, object]]:
    from mails.lifecycle.counters import CounterKey
    from mails.states import Counted, Ending
    from mercury.lib import histogram

    rows = []
    for key, share in (
        (CounterKey(Counted.ARRIVAL, "text", application=1, outcome="accepted"), 1.0),
        (CounterKey(Counted.FIRST_SEND, "text", application=1), 1.0),
        (CounterKey(Counted.CALL, "text", "olympus", outcome="accepted"), 0.9),
        (CounterKey(Counted.CALL, "text", "olympus", outcome="refused", failure_class="provider"), 0.05),
        (CounterKey(Counted.CALL, "text", "hades", outcome="accepted"), 0.1),
        (CounterKey(Counted.CALL, "text", "hades", outcome="unknown"), 0.001),
        (CounterKey(Counted.END, "text", "olympus", 1, Ending.DONE), 0.9),
        (CounterKey(Counted.END, "text", "hades", 1, Ending.FAILOVER), 0.05),
        (CounterKey(Counted.END, "text", "olympus", 1, Ending.DISCARDED, "message"), 0.01),
    ):
        count = max(1, int(mails * share))
        buckets: dict[str, int] = {}
        for _ in range(min(count, 200)):
            place = str(histogram.choose_bucket(draw.lognormvariate(-1.6, 0.6)))
            buckets[place] = buckets.get(place, 0) + max(1, count // 200)
        total_us = int(sum(histogram.get_bounds(int(place))[0] * inside for place, inside in buckets.items()) * 1e6)
        rows.append(
            {"level": level, "start": start, **key._asdict(), "count": count, "total_us": total_us, "buckets": buckets}
        )
    return rows


def ask(key: str, mails: int) -> None:
    """Ask everything, and print the times."""
    from django.conf import settings
    from django.contrib.auth.models import User
    from django.test import Client

    from mails.models import ApiKey, Mail
    from providers.accounts import registry

    settings.METRICS_TOKEN = "bench"
    plain_names = {"staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}}
    settings.STORAGES = settings.STORAGES | plain_names  # nobody has collected them for this instance
    ApiKey.objects.update(scopes=["mails:read", "stats:read"])
    api = Client(SERVER_NAME="127.0.0.1", HTTP_AUTHORIZATION=f"Bearer {key}", HTTP_ACCEPT="application/json")
    admin = Client(SERVER_NAME="127.0.0.1")
    admin.force_login(User.objects.create_superuser("hermes"))
    scraper = Client(SERVER_NAME="127.0.0.1", HTTP_AUTHORIZATION="Bearer bench")
    ids = list(Mail.objects.filter(status="done").order_by("id").values_list("id", flat=True)[mails // 2 :][:1])
    mail, deep = ids[0], mails // 2 // 20
    accounts = {
        candidate.config.name: f"/admin/providers/account/{candidate.id}/change/"
        for candidate in registry.load_candidates()
    }
    listing, pages, figures = "/api/v1.0/mails/", "/admin/mails/mail/", "/api/v1.0/stats/"
    for name, client, path in (
        ("stats: now, with alerts", api, f"{figures}now"),
        *((f"stats: {name}, {since}", api, f"{figures}{name}?since={since}") for name in _TABLES for since in _PERIODS),
        ("stats: breakers, 30d", api, f"{figures}breakers?since=30d"),
        ("metrics", scraper, "/metrics"),
        *((f"dashboard, {period}", admin, f"/admin/?period={period}") for period in ("1h", "24h", "7d")),
        ("admin, an account's page", admin, accounts["olympus"]),
        ("admin list, first page", admin, pages),
        ("admin list, in the middle", admin, f"{pages}?before={mail}"),
        ("admin list, discarded", admin, f"{pages}?state=discarded"),
        ("admin list, waiting", admin, f"{pages}?state=waiting"),
        ("admin list, done by hades", admin, f"{pages}?state=done&account=hades"),
        ("admin search, recipient", admin, f"{pages}?q=to:hera4711@olimpus.com"),
        ("admin search, part of one", admin, f"{pages}?q=to:hera4711"),
        ("admin search, subject", admin, f"{pages}?q=subject:4711"),
        ("admin search, no such subject", admin, f"{pages}?q=subject:nosuch"),
        ("admin search, any field", admin, f"{pages}?q=hera4711"),
        ("admin search, a million further", admin, f"{pages}?q=subject:nosuch&far=1"),
        ("admin search, id", admin, f"{pages}?q=id:{mail}"),
        ("admin, an email's page", admin, f"{pages}{mail}/change/"),
        ("api list, first page", api, listing),
        ("api list, first, expanded", api, f"{listing}?expand=true"),
        ("api list, in the middle", api, f"{listing}?page={deep}"),
        ("api list, last page", api, f"{listing}?page={mails // 20}"),
        ("api list by key, first", api, f"{listing}?cursor="),
        ("api list by key, in the middle", api, f"{listing}?cursor={mail}"),
        ("api list by key, expanded", api, f"{listing}?cursor={mail}&expand=true"),
        ("api list, discarded", api, f"{listing}?filter=status,eq,discarded"),
        ("api list, one recipient", api, f"{listing}?filter=recipient,eq,hera4711@olimpus.com"),
        ("api list, subject like", api, f"{listing}?filter=subject,like,mail 4711%25"),
        ("api, an email", api, f"{listing}{mail}"),
        ("api, its events, expanded", api, f"{listing}{mail}/events/?expand=true"),
    ):
        _say(name, client.get, path)


_TABLES = ("queues", "providers", "applications", "series")
_PERIODS = ("1h", "24h", "7d", "90d")


def _say(name: str, get: Callable[[str], HttpResponse], path: str) -> None:
    times, cpu = [], 0.0
    for number in range(TIMES + 1):
        began, cpu_began = time.perf_counter(), time.process_time()
        answer = get(path)
        times.append((time.perf_counter() - began) * 1000)
        cpu += (time.process_time() - cpu_began) * 1000 if number else 0.0
    first, *others = times
    note = "" if answer.status_code == 200 else f"   answered {answer.status_code}"
    print(
        f"{name:32} {first:8.1f} ms, then {statistics.median(others):8.1f} ms, {cpu / TIMES:6.1f} ms of CPU here{note}",
        flush=True,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How long it takes to look.")
    parser.add_argument("--mails", type=int, default=MAILS, help=f"Mails to fill in (default: {MAILS}).")
    options = parser.parse_args()
    if options.mails < 10_000:
        parser.error("--mails: 10000 or more, please.")
    instance.say_what("Reading", options.mails)
    measure(options.mails)
