"""PostgreSQL and Redis on ports of their own, so that a fault may strike them and nobody else."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import psycopg2
import redis

from mercury.tests.house import free_port, until

UNPRIVILEGED = "postgres"  # who runs PostgreSQL where we are root: it refuses to run as root itself


class ProgramMissing(Exception):
    """A program that the faults need is not installed; the text names it."""


class Server:
    """A server process on 127.0.0.1 that can be started, stopped and killed as often as you like; its data stays."""

    def __init__(self, command: list[str], *, port: int, log: Path, user: str | None = None) -> None:
        self.port = port
        self._command = command
        self._log = log
        self._user = user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, answers: Callable[[], bool]) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command, stdout=log, stderr=log, user=self._user, cwd="/", start_new_session=True
            )
        until(answers, 60, self._log.read_text)

    def signal(self, number: int) -> None:
        """Send a signal to the server's first process."""
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self, seconds: float = 60.0) -> None:
        """Wait until it has ended."""
        assert self.process is not None
        self.process.wait(seconds)


class Postgresql(Server):
    """A cluster of its own in a folder, with the settings of a fresh installation (fsync is on)."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        data = folder / "postgresql"
        user = UNPRIVILEGED if os.geteuid() == 0 else None
        data.mkdir()
        if user:
            shutil.chown(data, user)
            for above in (folder, *folder.parents[:1]):
                above.chmod(above.stat().st_mode | 0o011)  # to be passed through, not to be read
        make = [program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")
        command = [program("postgres"), "-D", str(data), "-p", str(port), "-k", "", "-h", "127.0.0.1"]
        super().__init__(command, port=port, log=folder / "postgresql.log", user=user)
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        self.start(self.answers)

    def answers(self) -> bool:
        """Whether it takes connections."""
        try:
            psycopg2.connect(self.url, connect_timeout=3).close()
        except psycopg2.OperationalError:
            return False
        return True


class Redis(Server):
    """A Redis that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        command = [program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", "/"]
        super().__init__(command, port=port, log=folder / "redis.log")
        self.url = f"redis://127.0.0.1:{port}/0"
        self.start(self.answers)

    def answers(self) -> bool:
        """Whether it says PONG."""
        try:
            return bool(redis.Redis(port=self.port, socket_connect_timeout=3, socket_timeout=3).ping())
        except redis.RedisError:
            return False


def program(name: str) -> str:
    """Where a program is, also where Debian hides PostgreSQL's. Raises ProgramMissing."""
    hidden = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(hidden[-1]) if hidden else None)
    if found is None:
        raise ProgramMissing(f"{name} is not installed. On Debian: apt-get install postgresql redis-server")
    return found
