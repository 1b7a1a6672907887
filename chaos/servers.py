"""PostgreSQL and Redis on ports of their own, so that a failure hits them alone."""

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import redis

from mercury.tests.instance import pick_free_port, wait_until

UNPRIVILEGED = "postgres"  # who runs PostgreSQL where we are root: it refuses to run as root itself


class ProgramMissing(Exception):
    """A program that a scenario needs is not installed; the text names it."""


class Server:
    """A server process on 127.0.0.1 that can be started, stopped and killed as often as you like; its data stays."""

    def __init__(self, command: list[str], *, port: int, log: Path, user: str | None = None) -> None:
        self.port = port
        self.log = log
        self._command = command
        self._user = user
        self.environment: dict[str, str] = {}  # beyond our own, for the next start
        self.process: subprocess.Popen[bytes] | None = None

    def is_ready(self) -> bool:
        """Return True if it works now."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
                start_new_session=True,
                env=os.environ | self.environment,
            )
        wait_until(self.is_ready, 60, self.log.read_text)

    def stop(self) -> None:
        """SIGINT: sessions end, and data is written to disk."""
        self.send_signal(signal.SIGINT)
        self.wait()

    def kill(self) -> None:
        """SIGKILL to it and all its children, a frozen one too; returns once they are gone."""
        if self.process is None:
            return
        family = [self.process.pid, *_find_children(self.process.pid)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        wait_until(lambda: not any(map(_is_alive, family)), 10)

    def freeze(self) -> None:
        """SIGSTOP: connections are accepted, and nothing is answered until `thaw`."""
        self.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.send_signal(signal.SIGCONT)

    def send_signal(self, number: int) -> None:
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
        port = pick_free_port()
        data = folder / "postgresql"
        user = UNPRIVILEGED if os.geteuid() == 0 else None
        data.mkdir()
        if user:
            shutil.chown(data, user)
            for above in (folder, *folder.parents[:1]):
                above.chmod(above.stat().st_mode | 0o011)  # to be passed through, not to be read
        make = [find_program("initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, user=user, cwd="/")
        command = [find_program("postgres"), "-D", str(data), "-p", str(port), "-k", "", "-h", "127.0.0.1"]
        super().__init__(command, port=port, log=folder / "postgresql.log", user=user)
        self.url = f"postgres://postgres@127.0.0.1:{port}/postgres"
        self._frozen: list[int] = []
        self.start()

    def is_ready(self) -> bool:
        """Return True if it accepts connections."""
        return _is_reachable(self.url)

    def freeze(self) -> None:
        """SIGSTOP to all of its processes: open sessions get no answer either."""
        assert self.process is not None
        super().freeze()  # the first one first, so that it makes no more
        self._frozen = _find_children(self.process.pid)
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT to all of them."""
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        super().thaw()

    def set_read_only(self, switch: str) -> None:
        """Let every new transaction be one that may only read (`on`), or not (`off`), as on a standby after a failover."""
        with closing(psycopg2.connect(self.url)) as connection:
            connection.set_session(readonly=False, autocommit=True)
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER SYSTEM SET default_transaction_read_only = {switch}")
                cursor.execute("SELECT pg_reload_conf()")

    def kill_session(self) -> None:
        """SIGKILL one session's process, as a kernel short of memory does: PostgreSQL ends all others, and recovers.

        Returns once it accepts connections again.
        """
        clients = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        with closing(psycopg2.connect(self.url)) as connection, connection.cursor() as cursor:
            cursor.execute(clients)
            for (pid,) in cursor.fetchmany(1):
                os.kill(pid, signal.SIGKILL)
            with suppress(psycopg2.OperationalError):  # this session is ended with the others
                cursor.execute("SELECT pg_sleep(60)")
        wait_until(self.is_ready, 60, self.log.read_text)


class Redis(Server):
    """A Redis that keeps nothing on disk."""

    def __init__(self, folder: Path) -> None:
        port = pick_free_port()
        command = [find_program("redis-server"), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", "/"]
        super().__init__(command, port=port, log=folder / "redis.log")
        self.url = f"redis://127.0.0.1:{port}/0"
        self._password: str | None = None
        self.start()

    def start(self) -> None:
        """Start it, empty and without a password, and wait until it answers."""
        self._password = None
        super().start()

    def is_ready(self) -> bool:
        """Return True if it answers PONG."""
        try:
            with self._client() as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    def flush(self) -> None:
        """Lose all that it holds."""
        with self._client() as client:
            client.flushall()

    def limit(self, size: int) -> None:
        """Refuse to write with more than `size` bytes in use; 0 is no limit."""
        with self._client() as client:
            client.config_set("maxmemory-policy", "noeviction")
            client.config_set("maxmemory", size)

    def change_password(self, password: str) -> None:
        """Ask for this password from now on, also in open sessions; "" is none."""
        with self._client() as client:
            client.config_set("requirepass", password)
            self._password = password or None
            client.client_kill_filter(_type="normal", skipme=True)

    def _client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=self._password, socket_connect_timeout=3, socket_timeout=3)


class Pgbouncer(Server):
    """pgbouncer before a PostgreSQL, in transaction mode: each session of it is lent for one transaction at a time."""

    def __init__(self, postgresql: Postgresql, *, database_url: str, sessions: int) -> None:
        port = pick_free_port()
        name = urlsplit(database_url).path.removeprefix("/")
        folder = postgresql.log.parent
        settings = folder / "pgbouncer.ini"
        settings.write_text(
            f"[databases]\n{name} = host=127.0.0.1 port={postgresql.port} user=postgres\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = transaction\ndefault_pool_size = {sessions}\nmax_client_conn = 200\n"
        )
        user = UNPRIVILEGED if os.geteuid() == 0 else None
        super().__init__([find_program("pgbouncer"), str(settings)], port=port, log=folder / "pgbouncer.log", user=user)
        self.url = f"postgres://postgres@127.0.0.1:{port}/{name}"
        self.start()

    def is_ready(self) -> bool:
        """Return True if it accepts connections."""
        return _is_reachable(self.url)


class SmallDisk:
    """A file system of `megabytes` MB in memory, that can be filled to the last byte."""

    def __init__(self, megabytes: int) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mercury-chaos-"))
        options = f"size={megabytes}m,mode=0755"
        mount = ["mount", "-t", "tmpfs", "-o", options, "mercury-chaos", str(self.folder)]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            self.folder.rmdir()
            raise ProgramMissing(
                f"No small disk can be mounted here: {done.stderr.strip()} Run this as root; in a container, with SYS_ADMIN."
            )
        self._ballast = self.folder / "ballast"

    def fill(self, *, but: int = 0) -> None:
        """Leave `but` MB free, none by default; called again, fill what has become free since."""
        with self._ballast.open("ab", buffering=0) as ballast:
            for size in (1 << 20, 1 << 12):  # the latter is a page, by which room is counted
                with suppress(OSError):  # somebody else was quicker
                    while shutil.disk_usage(self.folder).free >= (but << 20) + size:
                        ballast.write(bytes(size))

    def make_room(self) -> None:
        """Give back what `fill` took."""
        self._ballast.unlink()

    def remove(self) -> None:
        """Take it away with all that is on it."""
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        self.folder.rmdir()


def _is_reachable(url: str) -> bool:
    try:
        psycopg2.connect(url, connect_timeout=3).close()
    except psycopg2.OperationalError:
        return False
    return True


def _find_children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def find_library(name: str) -> str:
    """Return the path of a library of libfaketime. Raises ProgramMissing."""
    found = sorted(Path("/usr/lib").glob(f"*/faketime/{name}"))
    if not found:
        raise ProgramMissing(f"{name} is not installed. On Debian: apt-get install libfaketime")
    return str(found[0])


def find_program(name: str) -> str:
    """Return the path of a program, also where Debian keeps PostgreSQL's. Raises ProgramMissing."""
    hidden = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(hidden[-1]) if hidden else None)
    if found is None:
        package = name if name in {"redis-server", "pgbouncer"} else "postgresql"
        raise ProgramMissing(f"{name} is not installed. On Debian: apt-get install {package}")
    return found
