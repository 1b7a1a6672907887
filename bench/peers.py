"""Mercury compared with what a user would pick instead: `python bench/peers.py [--mails N] [--only NAME] [--latency MS] [--attachment BYTES]`.

Each sends a backlog of the same mails to the same kind of local provider, one after the other in one run, at its best
setting that is known. Counted from the first mail that leaves to the last outcome on record. CPU is that of the sending
processes and all their children; what PostgreSQL and Redis used is next to it. The peers come from PyPI with the versions
below into virtual environments of their own, Postfix from Debian's package into a folder.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import dispatch
import instance
import postfix
import psycopg2
import redis
from instance import CONTENT, ServiceMissing

LOOK = 0.02  # seconds between two looks at how far it is
GRACE = 20.0  # seconds that a process has to end
PATIENCE = 120.0  # seconds that a peer may take
COMMON = ("django==5.2.19", "django-anymail==15.2", "psycopg2-binary==2.9.13")
REQUIREMENTS = {
    "post_office": ("django-post_office==3.12.0", *COMMON),
    "celery": ("celery[redis]==5.7.0", "redis==8.1.0", *COMMON),
    "rq": ("rq==3.0.0", "redis==8.1.0", *COMMON),
    "dramatiq": ("dramatiq[redis]==2.2.1", "redis==8.1.0", *COMMON),
}
GOALS = {"postfix": 1.2, "celery": 8.0, "post_office": 2.0}  # Mercury should be this many times as fast


class NotDone(Exception):
    """A contestant did not send its backlog; the text says how that was seen."""


@dataclass(frozen=True, slots=True)
class Run:
    """The work of one contestant, and the folder of the environments.

    `attachment`: bytes of the file that each email has, next to HTML; 0: plain text alone.
    """

    mails: int
    delay_ms: int
    attachment: int
    environments: Path


@dataclass(frozen=True, slots=True)
class Ready:
    """A contestant whose mails wait. `recorded`: how many outcomes are on record."""

    start: Callable[[], list[subprocess.Popen[bytes]]]
    sent: Callable[[], int]
    recorded: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One line of the result. `family` groups those that one ratio is about; `share` of the mails keeps slow ones short."""

    name: str
    family: str
    prepare: Callable[[Run], AbstractContextManager[Ready]]
    latencies: tuple[int, ...] = (0, 200)
    share: float = 1.0


@dataclass
class Processes:
    """Processes of a contestant, and the CPU that they and their children have used."""

    started: list[subprocess.Popen[bytes]]
    ended: dict[int, float] = field(default_factory=dict)

    def cpu(self) -> float:
        """Seconds so far. Takes leave of those that have ended."""
        return sum(self._cpu(process) for process in self.started)

    def stop(self) -> None:
        """End those that are still there."""
        self.cpu()
        left = [process for process in self.started if process.pid not in self.ended]
        for process in left:
            process.terminate()
        for process in left:
            try:
                process.wait(GRACE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _cpu(self, process: subprocess.Popen[bytes]) -> float:
        if process.pid not in self.ended:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if not pid:
                return instance.cpu_of_tree(process.pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            if process.returncode:
                raise NotDone(f"a process ended with {process.returncode}")
            self.ended[pid] = usage.ru_utime + usage.ru_stime
        return self.ended[process.pid]


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of a contestant."""

    rate: float  # mails per second
    cpu_ms: float  # of the sending processes, for one mail
    database_ms: float
    redis_ms: float


def measure(contestant: Contestant, run: Run) -> Figures:
    """Let it send its backlog. Raises NotDone if an email is missing."""
    with contestant.prepare(run) as ready:
        processes = Processes(ready.start())
        try:
            _wait(lambda: ready.sent() > 0)
            before = ready.recorded()
            began, cpu = time.monotonic(), processes.cpu()
            database, broker = instance.database_cpu(), _redis_cpu()
            _wait(lambda: ready.recorded() >= run.mails)
            seconds, cpu = time.monotonic() - began, processes.cpu() - cpu
            database, broker = instance.database_cpu() - database, _redis_cpu() - broker
        finally:
            processes.stop()
    mails = run.mails - before
    return Figures(mails / seconds, *(used / mails * 1000 for used in (cpu, database, broker)))


def _wait(question: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not question():
        if time.monotonic() > end:
            raise NotDone(f"not done after {PATIENCE:.0f} s")
        time.sleep(LOOK)


def _redis_cpu() -> float:
    with closing(redis.Redis.from_url(instance.REDIS_URL)) as client:
        used = client.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])


def mercury(workers: int, *options: str) -> Callable[[Run], AbstractContextManager[Ready]]:
    """Mercury with `workers` workers, each on every queue."""

    @contextmanager
    def prepare(run: Run) -> Iterator[Ready]:
        with instance.build("full") as built, _counter(built.environment["DATABASE_URL"]) as count:
            built.provider.start_afresh(delay_ms=run.delay_ms)
            if run.attachment:
                built.run(dispatch.fill_with_file, run.mails, run.attachment)
            else:
                built.run(dispatch.fill, run.mails)
            yield Ready(
                lambda: [built.start("manage.py", "worker", *options) for _ in range(workers)],
                built.provider.count,
                lambda: count("SELECT count(*) FROM mails_mail WHERE status = 'done'"),
            )

    return prepare


@contextmanager
def mail_server(run: Run) -> Iterator[Ready]:
    """Postfix, its queue deferred and then flushed. Its own smtp-sink takes the mails, or ours where it is to wait."""
    package = postfix.unpack(run.environments)
    with ExitStack() as stack:
        if run.delay_ms:
            provider = stack.enter_context(instance.running_sink())
            provider.start_afresh(delay_ms=run.delay_ms)
            sink, concurrency = provider.smtp_port, 200
        else:
            sink, concurrency = stack.enter_context(postfix.running_sink(package)), 20
        server = stack.enter_context(postfix.running(package, sink=sink, concurrency=concurrency))
        server.fill(run.mails)

        def start() -> list[subprocess.Popen[bytes]]:
            server.flush()
            return [server.master]

        yield Ready(start, lambda: server.logged(postfix.SENT), lambda: server.logged(postfix.REMOVED))


def outbox(
    kind: str, *arguments: str, processes: int = 1, **settings: str
) -> Callable[[Run], AbstractContextManager[Ready]]:
    """Measure the application of `outbox/` with one kind of task; `arguments` start its workers."""

    @contextmanager
    def prepare(run: Run) -> Iterator[Ready]:
        with ExitStack() as stack:
            provider = stack.enter_context(instance.running_sink())
            provider.start_afresh(delay_ms=run.delay_ms)
            database = stack.enter_context(instance.create_database())
            environment = _environment(provider, database, stack.enter_context(instance.own_redis())) | settings
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mercury-bench-")))
            if run.attachment:
                (folder / "seal.bin").write_bytes(bytes(run.attachment))
                environment["OUTBOX_ATTACHMENT"] = str(folder / "seal.bin")
            python = _python(run.environments, kind)
            subprocess.run(
                [python, "-m", "outbox", kind, str(run.mails), CONTENT], cwd=folder, env=environment, check=True
            )
            count = stack.enter_context(_counter(database))
            question = RECORDED["post_office" if kind == "post_office" else "outbox"]

            def start() -> list[subprocess.Popen[bytes]]:
                command = [python, "-m", *arguments]
                with (folder / "output").open("ab") as output:
                    options = {"cwd": folder, "env": environment, "stdout": output, "stderr": output}
                    return [subprocess.Popen(command, **options) for _ in range(processes)]

            yield Ready(start, provider.count, lambda: count(question))

    return prepare


RECORDED = {
    "outbox": "SELECT count(*) FROM outbox_mail WHERE status = 'sent'",
    "post_office": "SELECT count(*) FROM post_office_email WHERE status = 0",
}


def _environment(provider: instance.Provider, database: str, broker: str) -> dict[str, str]:
    url = urlsplit(database)
    django = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path[1:],
        "USER": url.username or "",
        "PASSWORD": url.password or "",
        "HOST": url.hostname or "",
        "PORT": str(url.port or ""),
    }
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parent),
        "DJANGO_SETTINGS_MODULE": "outbox.settings",
        "OUTBOX_DATABASE": json.dumps(django),
        "OUTBOX_REDIS": broker,
        "RQ_REDIS_URL": broker,
        "OUTBOX_PROVIDER": f"{provider.base}/v3/",
        "OUTBOX_SMTP_PORT": str(provider.smtp_port),
    }


@contextmanager
def _counter(database: str) -> Iterator[Callable[[str], int]]:
    """Asks a database how many, over a connection of its own."""
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:

            def count(question: str) -> int:
                cursor.execute(question)
                answer: int = cursor.fetchone()[0]
                return answer

            yield count


def _python(environments: Path, name: str) -> Path:
    """Return the interpreter of this peer's environment, which the first call makes. Raises ServiceMissing."""
    folder = environments / name
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print(f"Installing {', '.join(REQUIREMENTS[name])}", file=sys.stderr, flush=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS[name]]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True, stdout=sys.stderr)
            subprocess.run(pip, check=True, stdout=sys.stderr, stderr=subprocess.PIPE)
        except subprocess.CalledProcessError as error:
            raise ServiceMissing(
                f"{name} cannot be installed from PyPI: {(error.stderr or b'').decode()[-300:]}"
            ) from error
        (folder / "complete").touch()
    return python


def _post_office(threads: int, batch: int) -> dict[str, str]:
    return {
        "OUTBOX_POST_OFFICE": json.dumps({"BATCH_SIZE": batch, "THREADS_PER_PROCESS": threads}),
        "OUTBOX_REUSE": "1",
    }


SMTP = {"OUTBOX_BACKEND": "django.core.mail.backends.smtp.EmailBackend"}
REUSE = {"OUTBOX_REUSE": "1"}
QUEUED = ("django", "send_queued_mail", "--processes", "2", "--lockfile", "lock")
CELERY = ("celery", "-A", "outbox.by_celery", "worker", "--loglevel", "WARNING")
RQ = ("rq.cli", "worker", "--worker-class", "rq.SimpleWorker", "--quiet", "mails")
DRAMATIQ = ("dramatiq", "outbox.by_dramatiq", "--processes", "2", "--threads")
CONTESTANTS = (
    Contestant("Mercury, 1 worker", "mercury", mercury(1)),
    Contestant("Mercury, 2 workers", "mercury", mercury(2)),
    Contestant("Mercury, 1 worker, 512 slots", "mercury", mercury(1, "--concurrency", "512"), (200,)),
    Contestant("Mercury, 2 workers, 512 slots", "mercury", mercury(2, "--concurrency", "512"), (200,)),
    Contestant("Postfix", "postfix", mail_server),
    Contestant("post_office, HTTP", "post_office", outbox("post_office", *QUEUED, **_post_office(8, 5000)), (0,), 0.8),
    Contestant(
        "post_office, SMTP", "post_office", outbox("post_office", *QUEUED, **_post_office(8, 5000), **SMTP), (0,)
    ),
    Contestant(
        "post_office, HTTP, 100 threads",
        "post_office",
        outbox("post_office", *QUEUED, **_post_office(100, 5000)),
        (200,),
        0.5,
    ),
    Contestant("Celery, as it comes", "celery as it comes", outbox("celery", *CELERY), (0,), 0.15),
    Contestant("Celery, connections reused", "celery", outbox("celery", *CELERY, **REUSE), (0,), 0.3),
    Contestant(
        "Celery, connections reused, 80 threads",
        "celery",
        outbox("celery", *CELERY, "--pool", "threads", "--concurrency", "80", **REUSE),
        (200,),
        0.4,
    ),
    Contestant("RQ, 2 workers", "rq", outbox("rq", *RQ, processes=2, **REUSE), (0,), 0.2),
    Contestant("RQ, 16 workers", "rq", outbox("rq", *RQ, processes=16, **REUSE), (200,), 0.1),
    Contestant("Dramatiq, 2 x 8 threads", "dramatiq", outbox("dramatiq", *DRAMATIQ, "8", **REUSE), (0,), 0.3),
    Contestant("Dramatiq, 2 x 40 threads", "dramatiq", outbox("dramatiq", *DRAMATIQ, "40", **REUSE), (200,), 0.3),
)
NAMES = tuple(dict.fromkeys(contestant.family for contestant in CONTESTANTS))


def main() -> None:
    """Run the contest."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that nothing is left behind then, either
    instance.say_what("Peers", options.mails)
    results: dict[tuple[str, str, int], Figures] = {}
    with ExitStack() as stack:
        environments = options.environments or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="mercury-peers-"))
        )
        environments.chmod(0o755)  # Postfix's processes are not all root
        for delay_ms in options.latency or (0, 200):
            for contestant in CONTESTANTS:
                if delay_ms not in contestant.latencies or (options.only and contestant.family not in options.only):
                    continue
                mails = max(1, round(options.mails * contestant.share))
                run = Run(mails, delay_ms, options.attachment, environments)
                try:
                    figures = results[contestant.name, contestant.family, delay_ms] = measure(contestant, run)
                except (ServiceMissing, NotDone) as error:
                    print(f"{contestant.name:40} provider {delay_ms:3} ms: no figure, {error}.", flush=True)
                    continue
                print(_line(contestant, run, figures), flush=True)
            _print_ratios(results, delay_ms)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=5000, help="The backlog (5000); slow ones get a part of it.")
    parser.add_argument("--only", action="append", choices=NAMES, help="Run these only (repeatable).")
    parser.add_argument("--latency", type=int, action="append", choices=(0, 200), help="Milliseconds (repeatable).")
    parser.add_argument(
        "--attachment", type=int, default=0, help="Bytes of a file for each email, next to HTML (0: none)."
    )
    parser.add_argument("--environments", type=Path, help="Keep what is installed here, for the next run.")
    options = parser.parse_args()
    instance.check_mails(parser, options.mails)
    if options.environments:
        options.environments = options.environments.resolve()
        options.environments.mkdir(parents=True, exist_ok=True)
    return options


def _line(contestant: Contestant, run: Run, figures: Figures) -> str:
    return (
        f"{contestant.name:40} provider {run.delay_ms:3} ms, {run.mails:5} mails: {figures.rate:6.0f} emails/s,"
        f" {figures.cpu_ms:5.2f} ms of CPU per email ({figures.database_ms:.2f} in PostgreSQL, {figures.redis_ms:.2f} in Redis)"
    )


def _print_ratios(results: dict[tuple[str, str, int], Figures], delay_ms: int) -> None:
    """Print how many times as fast Mercury is, with one worker and with two, as the best of each family."""
    best: dict[str, float] = {}
    for (name, family, latency), figures in results.items():
        if latency == delay_ms:
            who = name if family == "mercury" else family
            best[who] = max(best.get(who, 0.0), figures.rate)
    for ours in [who for who in best if who.startswith("Mercury")]:
        ratios = [
            f"{best[ours] / rate:.1f} x {family}{f' (goal {GOALS[family]})' if family in GOALS and not delay_ms else ''}"
            for family, rate in best.items()
            if not family.startswith("Mercury")
        ]
        if ratios:
            print(f"{ours}, provider {delay_ms} ms: {', '.join(ratios)}", flush=True)


if __name__ == "__main__":
    main()
