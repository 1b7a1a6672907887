"""Minutes of load with faults: what a process holds must not grow."""

import random
import threading
import time
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from statistics import median

from chaos.database import query
from chaos.scenario import Run, Scenario

RATE = 200.0  # mails a second
EVERY = 10.0  # seconds between two samples
STRIKES_EVERY = 15.0  # seconds
LOST, HANGING = 0.02, 0.002  # of the calls
MEMORY = 1.10  # of what it was in the second third
LEEWAY, LEEWAY_IN_CI = 16, 300  # sockets or threads more than in the second third; a short run is still filling places
LEFT_OVER = {
    "web": 16,
    "worker": 4,
}  # sockets more when all is sent than before the first mail; web: one for each thread
COOLED_WITHIN = 30.0  # seconds: longer than any connection is kept for the next call
IDLE = 1.0  # seconds that an open transaction may do nothing


@dataclass(frozen=True, slots=True)
class Sample:
    """What was held at a moment. Memory in MB; web: the process that serves, worker: the one that is never killed."""

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
    """200 mails a second; the other worker is killed again and again, accounts flap and hang, answers are lost."""
    testbed = run.testbed
    testbed.await_dispatchers()
    before = {name: _held(pid)[2] for name, pid in _processes(run)}
    samples: list[Sample] = []
    ended = threading.Event()
    striking = threading.Thread(target=_strike, args=(run, ended))
    began = time.monotonic()
    with run.posting(rate=RATE, forgetful=0.002) as clients:
        striking.start()
        while len(clients.told) < run.mails:
            time.sleep(min(EVERY, run.mails / RATE / 12))
            samples.append(_sample(run, (time.monotonic() - began) / 60))
    posted = time.monotonic() - began
    ended.set()
    striking.join()
    testbed.behave(answer="ok", mix={}, delay_ms=0)
    settled = run.settle()
    _print(samples)
    run.figure("lasted", (time.monotonic() - began) / 60, "min")
    run.figure("mails a second", run.mails / posted)
    run.figure("settled after the last mail was handed in", settled, "s")
    run.figure("unknown outcomes", run.unknowns)
    run.figure("mails taken twice, each with its doubt on record", run.taken_twice)
    third = len(samples) // 3
    for name, unit in (("web_mb", "MB"), ("worker_mb", "MB")):
        early, late = _of(samples[third : 2 * third], name), _of(samples[-third:], name)
        run.at_most(f"{name.removesuffix('_mb')}: memory in the last third", late, MEMORY * early, unit)
    leeway = LEEWAY_IN_CI if run.short else LEEWAY
    for name in ("web_threads", "worker_threads", "sessions"):
        early, late = _of(samples[third : 2 * third], name), _of(samples[-third:], name)
        run.at_most(f"{name.replace('_', ': ')} in the last third", late, early + leeway)
    for name in (
        "web_sockets",
        "worker_sockets",
    ):  # they come and go with the calls under way: a leak raises the fewest
        early, late = _fewest(samples[third : 2 * third], name), _fewest(samples[-third:], name)
        run.at_most(f"{name.replace('_', ': ')} in the last third, at the fewest", late, early + leeway)
    for name, pid in _processes(run):
        most = before[name] + LEFT_OVER[name]
        run.at_most(f"{name}: sockets when all is sent", _cooled(pid, most), most)
    run.at_most("transactions idle for over a second", max(sample.idle_in_transaction for sample in samples), 0)


def _of(samples: list[Sample], name: str) -> float:
    return float(median(getattr(sample, name) for sample in samples))


def _fewest(samples: list[Sample], name: str) -> float:
    return float(min(getattr(sample, name) for sample in samples))


def _processes(run: Run) -> list[tuple[str, int]]:
    """Return the process that serves, and the worker that is never killed."""
    assert run.testbed.web is not None
    [serving] = Path(f"/proc/{run.testbed.web.pid}/task/{run.testbed.web.pid}/children").read_text().split()
    return [("web", int(serving)), ("worker", run.testbed.workers[0].pid)]


def _cooled(pid: int, most: int) -> int:
    """Return the number of sockets of a process, once there are at most `most` or half a minute is over."""
    until = time.monotonic() + COOLED_WITHIN
    while (held := _held(pid)[2]) > most and time.monotonic() < until:
        time.sleep(1.0)
    return held


def _strike(run: Run, ended: threading.Event) -> None:
    """Kill a worker, let an account refuse, let one hang, lose answers: in turn, until the run is over."""
    olympus, hades = run.testbed.providers["olympus"], run.testbed.providers["hades"]
    pause = STRIKES_EVERY if not run.short else 1.0
    run.testbed.behave(delay_ms=50, mix={"reset-after": LOST, "hang": HANGING})
    for strike in cycle(("kill", "down", "up")):
        if ended.wait(pause * random.uniform(0.8, 1.2)):
            break
        match strike:
            case "kill":
                run.testbed.kill_worker(1)
            case "down":
                random.choice((olympus, hades)).behave(answer="503")
            case "up":
                run.testbed.behave(answer="ok")
    run.testbed.behave(answer="ok")


def _sample(run: Run, minute: float) -> Sample:
    testbed = run.testbed
    assert run.clients is not None
    (_, serving), (_, sending) = _processes(run)
    sql = (
        "SELECT count(*), count(*) FILTER (WHERE state LIKE 'idle in%' AND state_change < now() - interval"
        f" '{IDLE} s') FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    sessions, idle = query(testbed.database_url, sql)[0]
    return Sample(
        round(minute, 1),
        len(run.clients.told),
        run.in_hand(),
        *_held(serving),
        *_held(sending),
        int(sessions),
        int(idle),
    )


def _held(pid: int) -> tuple[float, int, int]:
    """Memory in MB, threads and sockets of a process."""
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    sockets = sum(str(_target(link)).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())
    return round(int(status["VmRSS"].split()[0]) / 1024, 1), int(status["Threads"]), sockets


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except FileNotFoundError:  # it was closed meanwhile
        return ""


def _print(samples: list[Sample]) -> None:
    print("       " + " ".join(f"{heading:>9}" for heading in HEADINGS))
    for sample in samples:
        print("       " + " ".join(f"{getattr(sample, name):>9}" for name in Sample.__slots__))


SCENARIOS = [
    Scenario(
        "soak",
        "200 mails a second for 10 minutes, with faults",
        soak,
        120_000,
        400,
        settings={"MERCURY_SEND_TIMEOUT": "5s", "MERCURY_LEASE": "35s"},
        rate=RATE,
    )
]
