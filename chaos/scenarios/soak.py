"""Minutes of load with failures: no process may grow."""

import random
import threading
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

from chaos.database import query
from chaos.scenario import Run, Scenario

RATE = 200.0  # emails per second
EVERY = 10.0  # seconds between two samples
STRIKES_EVERY = 15.0  # seconds
LOST, HANGING = 0.02, 0.002  # of the requests
MEMORY = 1.10  # of what it was in the second third
LEEWAY, LEEWAY_IN_CI = 16, 300  # sockets or threads more than in the second third; a short run is still filling slots
# Sockets more when all is sent than before the first email. Web: those of its threads. Worker: those to PostgreSQL of
# recovery, other periodic tasks and the sender of webhooks, and two to Redis.
LEFT_OVER = {"web": 16, "worker": 5}
SOCKETS_CLOSED_WITHIN = 30.0  # seconds: longer than any connection is kept for the next call
IDLE = 1.0  # seconds that an open transaction may do nothing


@dataclass(frozen=True, slots=True)
class Sample:
    """Resources at one moment. Memory in MB; web: the process that serves, worker: the process that is never killed."""

    minute: float
    posted: int
    waiting: int
    web_mb: float
    web_threads: int
    web_sockets: int
    worker_mb: float
    worker_threads: int
    worker_sockets: int
    sessions: int
    idle_in_transaction: int


HEADINGS = (
    "minute",
    "posted",
    "due",
    "web MB",
    "threads",
    "sockets",
    "worker MB",
    "threads",
    "sockets",
    "sessions",
    "idle",
)


def soak(run: Run) -> None:
    """Submit 200 emails per second, while a worker is killed again and again, accounts flap and hang, and answers are lost."""
    testbed = run.testbed
    testbed.wait_for_dispatchers()
    before = {name: _measure_process(pid)[2] for name, pid in _find_processes(run)}
    samples: list[Sample] = []
    ended = threading.Event()
    striking = threading.Thread(target=_strike, args=(run, ended))
    began = time.monotonic()
    with run.post_mails(rate=RATE, forgetful=0.002) as clients:
        striking.start()
        while len(clients.client_records) < run.mails:
            time.sleep(min(EVERY, run.mails / RATE / 12))
            samples.append(_sample(run, (time.monotonic() - began) / 60))
    posted = time.monotonic() - began
    ended.set()
    striking.join()
    testbed.configure(answer="ok", mix={}, delay_ms=0)
    finished = run.wait_until_finished()
    _print(samples)
    run.report("lasted", (time.monotonic() - began) / 60, "min")
    run.report("emails per second", run.mails / posted)
    run.report("all finished after the last email was submitted", finished, "s")
    run.report("unknown outcomes", run.unknowns)
    run.report("emails sent twice, each with an unknown outcome on record", run.sent_twice)
    third = len(samples) // 3
    for name, unit in (("web_mb", "MB"), ("worker_mb", "MB")):
        early, late = _find_median(samples[third : 2 * third], name), _find_median(samples[-third:], name)
        run.expect_at_most(f"{name.removesuffix('_mb')}: memory in the last third", late, MEMORY * early, unit)
    leeway = LEEWAY_IN_CI if run.short else LEEWAY
    for name in ("web_threads", "worker_threads", "sessions"):
        early, late = _find_median(samples[third : 2 * third], name), _find_median(samples[-third:], name)
        run.expect_at_most(f"{name.replace('_', ': ')} in the last third", late, early + leeway)
    for name in (
        "web_sockets",
        "worker_sockets",
    ):  # their number varies with the requests in progress: a leak raises the minimum
        early, late = _find_fewest(samples[third : 2 * third], name), _find_fewest(samples[-third:], name)
        run.expect_at_most(f"{name.replace('_', ': ')} in the last third, at the fewest", late, early + leeway)
    for name, pid in _find_processes(run):
        most = before[name] + LEFT_OVER[name]
        run.expect_at_most(f"{name}: sockets when all is sent", _wait_for_few_sockets(pid, most), most)
    run.expect_at_most("transactions idle for over a second", max(sample.idle_in_transaction for sample in samples), 0)


def _find_median(samples: list[Sample], name: str) -> float:
    return float(median(getattr(sample, name) for sample in samples))


def _find_fewest(samples: list[Sample], name: str) -> float:
    return float(min(getattr(sample, name) for sample in samples))


def _find_processes(run: Run) -> list[tuple[str, int]]:
    """Return the process that serves, and the worker that is never killed."""
    assert run.testbed.web is not None
    [serving] = Path(f"/proc/{run.testbed.web.pid}/task/{run.testbed.web.pid}/children").read_text().split()
    return [("web", int(serving)), ("worker", run.testbed.workers[0].pid)]


def _wait_for_few_sockets(pid: int, most: int) -> int:
    """Return the number of sockets of a process, once there are at most `most` or half a minute is over."""
    until = time.monotonic() + SOCKETS_CLOSED_WITHIN
    while (held := _measure_process(pid)[2]) > most and time.monotonic() < until:
        time.sleep(1.0)
    return held


def _strike(run: Run, ended: threading.Event) -> None:
    """Kill a worker, let an account refuse, let one hang, lose answers: in turn, until the run is over."""
    olympus, hades = run.testbed.providers["olympus"], run.testbed.providers["hades"]
    pause = STRIKES_EVERY if not run.short else 1.0
    run.testbed.configure(delay_ms=50, mix={"reset-after": LOST, "hang": HANGING})
    for strike in cycle(("kill", "down", "up")):
        if ended.wait(pause * random.uniform(0.8, 1.2)):
            break
        match strike:
            case "kill":
                run.testbed.kill_worker(1)
            case "down":
                random.choice((olympus, hades)).configure(answer="503")
            case "up":
                run.testbed.configure(answer="ok")
    run.testbed.configure(answer="ok")


def _sample(run: Run, minute: float) -> Sample:
    testbed = run.testbed
    assert run.clients is not None
    (_, serving), (_, sending) = _find_processes(run)
    sql = (
        "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in%' AND state_change < now() - interval"
        f" '{IDLE} s') FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    sessions, idle = query(testbed.database_url, sql)[0]
    return Sample(
        round(minute, 1),
        len(run.clients.client_records),
        run.count_unfinished(),
        *_measure_process(serving),
        *_measure_process(sending),
        int(sessions),
        int(idle),
    )


def _measure_process(pid: int) -> tuple[float, int, int]:
    """Return memory in MB, threads and sockets of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    sockets = sum(str(_read_target(link)).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())
    return round(int(status["VmRSS"].split()[0]) / 1024, 1), int(status["Threads"]), sockets


def _read_target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # it was closed in between
        return ""


def _print(samples: list[Sample]) -> None:
    print("       " + " ".join(f"{heading:>9}" for heading in HEADINGS))
    for sample in samples:
        print("       " + " ".join(f"{getattr(sample, name):>9}" for name in Sample.__slots__))


SCENARIOS = [
    Scenario(
        "soak",
        "200 emails per second for 10 minutes, with failures",
        soak,
        120_000,
        400,
        settings={"MERCURY_SEND_TIMEOUT": "5s", "MERCURY_LEASE": "35s"},
        rate=RATE,
    )
]
