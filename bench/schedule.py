"""How late scheduled emails are, and what they cost while they wait: `python bench/schedule.py [--mails N] [--leg embedded|full|both]`.

One at a time on an idle instance; all at the same moment, with one worker and two on PostgreSQL; and an idle worker and a
backlog next to a million emails of the coming months (`--waiting N`, PostgreSQL only). "Late" is from the time an email is
scheduled for to its first SEND as Mercury records it, or to its arrival at the local provider; this machine's clocks.
"""

import argparse
import math
import random
import time
from collections.abc import Sequence
from contextlib import closing

import dispatch
import instance
import psycopg2
from instance import LEGS, WORDS, Instance, ServiceMissing

SINGLE = 200  # emails, one at a time
GAP = (0.15, 0.45)  # seconds between two of them, from and to
MOVED_PER_SECOND = 2000  # at least; so much time is left until all are due
IDLE = 60.0  # seconds of an idle worker
BACKLOG = 5000  # emails next to those that wait


def measure_single(leg: str) -> None:
    """Print how late emails are that become due one at a time."""
    with instance.build(leg) as built:
        built.provider.start_afresh(delay_ms=0)
        worker = built.start("manage.py", "worker")
        moments = [time.time() + 15]
        while len(moments) < SINGLE:
            moments.append(moments[-1] + random.uniform(*GAP))
        built.run(dispatch.fill, SINGLE, moments)
        instance.wait_until(lambda: built.provider.count() == SINGLE, SINGLE * GAP[1] + 60)
        worker.terminate()
        instance.wait_for(worker)
        wall = time.time_ns() - time.monotonic_ns()
        received = built.provider.read_received()["mails"]
    due = {f"mail {number}": moment for number, moment in enumerate(moments)}
    late = [(mail["arrived_ns"] + wall) / 1e6 - due[mail["subject"]] * 1000 for mail in received]
    print(f"{WORDS[leg]:26} one at a time, at the provider: {_spread(late, 'ms')}", flush=True)


def measure_together(leg: str, mails: int, workers: int) -> None:
    """Print how late emails are that are all due at one moment, and how much of that is not the rate of sending."""
    with instance.build(leg) as built:
        built.provider.start_afresh(delay_ms=0)
        processes = [built.start("manage.py", "worker") for _ in range(workers)]
        built.run(dispatch.fill, mails, [time.time() + 86_400])
        due = math.ceil(time.time() + 30 + mails / MOVED_PER_SECOND)
        built.run(move, due)
        left = due - time.time()
        if left < 1:
            raise SystemExit("The emails were due before all were rescheduled; the machine is too busy.")
        time.sleep(left)
        instance.wait_until(lambda: built.provider.count() >= mails, 600)
        for process in processes:
            process.terminate()
            instance.wait_for(process)
        late = [moment - due for moment in built.run(read_sends)]
        accepted = built.provider.count()
    rate = len(late) / (late[-1] - late[0])
    beyond = [moment - number / rate for number, moment in enumerate(late)]
    who = f"{workers} worker{'s' * (workers > 1)}"
    print(
        f"{WORDS[leg]:26} {mails} at once, {who}: {rate:.0f} emails/s; first SEND after {late[0] * 1000:.0f} ms; late {_spread(late, 's')};"
        f" beyond that rate {_spread(beyond, 's')}; {len(late)} sent, {accepted} accepted",
        flush=True,
    )


def measure_waiting(waiting: int) -> None:
    """Print what an idle worker asks, and how fast a backlog is sent, without and with emails of the coming months."""
    for count in (0, waiting):
        with instance.build("full") as built:
            built.provider.start_afresh(delay_ms=0)
            if count:
                fill_months(built.environment["DATABASE_URL"], count)
            worker = built.start("manage.py", "worker")
            time.sleep(10)  # its start
            before, cpu = _count_transactions(built), instance.cpu_of([worker.pid])
            database = instance.database_cpu()
            time.sleep(IDLE)
            asked = (_count_transactions(built) - before) / IDLE
            busy = (instance.cpu_of([worker.pid]) - cpu, instance.database_cpu() - database)
            worker.terminate()
            instance.wait_for(worker)
            built.run(dispatch.fill, BACKLOG)
            worker = built.start("manage.py", "worker", "--burst")
            instance.wait_for(worker)
            sends = built.run(read_sends)
            plan = built.run(explain_look)
        print(
            f"{WORDS['full']:26} {count} wait for months: idle {asked:.1f} transactions/s, worker {busy[0] / IDLE * 100:.2f} % and"
            f" PostgreSQL {busy[1] / IDLE * 100:.2f} % of a core; a backlog of {BACKLOG}: {len(sends) / (sends[-1] - sends[0]):.0f} emails/s;"
            f" a look for routes {plan}",
            flush=True,
        )


def move(due: int) -> None:
    """Let all emails be due at this moment, seconds since 1970."""
    import datetime as dt

    from mails.models import Mail

    moment = dt.datetime.fromtimestamp(due, tz=dt.UTC)
    Mail.objects.update(send_at=moment, next_attempt_at=moment)


def read_sends() -> list[float]:
    """Return when the first request of each email was made, in order: seconds since 1970."""
    from mails.models import Attempt

    return sorted(moment.timestamp() for moment in Attempt.objects.filter(number=1).values_list("opened_at", flat=True))


def explain_look() -> str:
    """Return time and pages of a look for the routes with due emails, by EXPLAIN ANALYZE."""
    from django.db import connection

    from mails.dispatch.due import routes
    from mails.queues import QueueName

    sql = routes.FIND_ROUTES.format(starts=", ".join(["(%s, '')"] * len(QueueName.values)), is_wanted="true")
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}", [*QueueName.values, 512])
        found = cursor.fetchone()[0][0]
    return f"{found['Execution Time']:.2f} ms, {found['Plan']['Shared Hit Blocks'] + found['Plan']['Shared Read Blocks']} pages"


def fill_months(database_url: str, count: int) -> None:
    """Store emails that are due in the next six months, evenly."""
    with closing(psycopg2.connect(database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO mails_mail (id, source, idempotency_key, created_at, size, sender, recipient, subject, queue,
                delivery_guarantee, status, send_at, next_attempt_at, expires_at, round, tried, failure_classes,
                attempt_count, possible_duplicate, failure_class, reason_code, provider, worker, claims)
            SELECT gen_random_uuid(), 'api', '', now(), 2000, 'zeus@olimpus.com', 'hera@olimpus.com', 'mail ' || n, 'text',
                'at-least-once', 'queued', due, due, due + interval '3 days', 1, '[]', '[]', 0, false, '', '', '', '', 0
            FROM generate_series(1, %s) AS n, LATERAL (SELECT now() + interval '1 day' + n * interval '180 days' / %s AS due) AS at
            """,
            [count, count],
        )
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        connection.cursor().execute("VACUUM ANALYZE mails_mail")


def _count_transactions(built: Instance) -> int:
    with closing(psycopg2.connect(built.environment["DATABASE_URL"])) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
        count: int = cursor.fetchone()[0]
        return count


def _spread(values: Sequence[float], unit: str) -> str:
    ordered = sorted(values)
    p50, p99 = (ordered[min(len(ordered) - 1, len(ordered) * part // 100)] for part in (50, 99))
    return f"p50 {p50:.2f} p99 {p99:.2f} max {ordered[-1]:.2f} {unit}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Scheduled emails")
    parser.add_argument("--mails", type=int, default=100_000, help="Emails that are due at the same moment.")
    parser.add_argument(
        "--waiting", type=int, default=1_000_000, help="Emails of the coming months; 0: without that part."
    )
    parser.add_argument("--leg", choices=(*LEGS, "both"), default="both")
    options = parser.parse_args()
    instance.say_what("Scheduled", options.mails)
    for leg in LEGS if options.leg == "both" else (options.leg,):
        try:
            measure_single(leg)
            for workers in (1, 2) if leg == "full" else ():
                measure_together(leg, options.mails, workers)
            if leg == "full" and options.waiting:
                measure_waiting(options.waiting)
        except ServiceMissing as missing:
            raise SystemExit(f"{WORDS[leg]}: {missing}. Start it, or choose --leg embedded.") from missing


if __name__ == "__main__":
    main()
