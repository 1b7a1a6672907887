"""A Postfix of its own for a benchmark: unpacked from Debian's package into a folder, never installed, gone afterwards.

Its queue fills while the transport is deferred; then the transport is opened and the queue flushed. It logs each outcome
into a file, as a mail server does; that file is also how the benchmark counts.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import instance
from instance import CONTENT, ServiceMissing

OWNER, GROUP = "mail", "daemon"  # a user and a group that every Debian has; Postfix wants two different ones
QUEUES = "active bounce corrupt defer deferred flush hold incoming private saved trace"
WORDS = DEFERRED, SENT, REMOVED, RELOADED = b"status=deferred", b"status=sent", b": removed", b"reload -- version"

_MAIN = """
compatibility_level = 3.6
queue_directory = {home}/queue
data_directory = {home}/data
command_directory = {root}/usr/sbin
daemon_directory = {root}/usr/lib/postfix/sbin
shlib_directory = {root}/usr/lib/postfix
meta_directory = {root}/etc/postfix
mail_owner = {owner}
setgid_group = {group}
import_environment = LD_LIBRARY_PATH MAIL_CONFIG
export_environment = LD_LIBRARY_PATH MAIL_CONFIG
myhostname = bench.olimpus.com
mydestination =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps =
alias_database =
local_recipient_maps =
mynetworks = 127.0.0.0/8
smtpd_client_connection_count_limit = 0
relayhost = [127.0.0.1]:{sink}
smtp_dns_support_level = disabled
smtp_tls_security_level = none
smtpd_tls_security_level = none
maillog_file = {home}/log
maillog_file_prefixes = {home}
initial_destination_concurrency = {concurrency}
smtp_destination_concurrency_limit = {concurrency}
defer_transports = {deferred}
"""
_MASTER = """
127.0.0.1:{port} inet n - n - 50 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - {concurrency} smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass
class Postfix:
    """A running Postfix."""

    root: Path  # where the package is unpacked
    home: Path
    port: int
    sink: int  # port of the mail server that it relays to
    concurrency: int  # deliveries at once
    master: subprocess.Popen[bytes] = field(init=False)
    lines: Counter[bytes] = field(default_factory=Counter)
    read: int = 0  # bytes of the log that were counted

    def start(self) -> None:
        """Run the master with mails for the sink deferred."""
        (self.home / "conf").mkdir()
        self._configure(deferred="smtp")
        (self.home / "conf/master.cf").write_text(_MASTER.format(port=self.port, concurrency=self.concurrency))
        command = [self.root / "usr/lib/postfix/sbin/master", "-c", self.home / "conf", "-d"]
        self.master = subprocess.Popen(command, env=self.environment, start_new_session=True)

    def fill(self, mails: int) -> None:
        """Submit `mails` emails, and wait until all of them are in the deferred queue."""
        to = ["-f", "zeus@olimpus.com", "-t", "hera@olimpus.com", f"127.0.0.1:{self.port}"]
        source = [self.root / "usr/sbin/smtp-source", "-s", "20", "-l", str(len(CONTENT)), "-m", str(mails), *to]
        subprocess.run(source, env=self.environment, check=True)
        instance.wait_until(lambda: self.logged(DEFERRED) == mails)

    def flush(self) -> None:
        """Open the way, and send all that was deferred."""
        self._configure(deferred="")
        self.master.send_signal(signal.SIGHUP)
        instance.wait_until(lambda: self.logged(RELOADED) > 0)
        postqueue = [self.root / "usr/sbin/postqueue", "-c", self.home / "conf", "-f"]
        result = subprocess.run(postqueue, env=self.environment, capture_output=True, check=False)
        if result.returncode:
            raise SystemExit(f"Postfix cannot flush its queue: {result.stderr.decode().strip()}")

    def logged(self, words: bytes) -> int:
        """Return how many lines of the log contain one of WORDS so far. Reads only new lines."""
        with (self.home / "log").open("rb") as log:
            log.seek(self.read)
            whole, _, _ = log.read().rpartition(b"\n")
        self.read += len(whole)
        for word in WORDS:
            self.lines[word] += whole.count(word)
        return self.lines[words]

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that its programs need to find each other."""
        libraries = str(self.root / "usr/lib/postfix")
        return {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries, "MAIL_CONFIG": str(self.home / "conf")}

    def _configure(self, *, deferred: str) -> None:
        values = {
            "owner": OWNER,
            "group": GROUP,
            "concurrency": self.concurrency,
            "deferred": deferred,
            "sink": self.sink,
        }
        (self.home / "conf/main.cf").write_text(_MAIN.format(home=self.home, root=self.root, **values))


@contextmanager
def running(package: Path, *, sink: int, concurrency: int) -> Iterator[Postfix]:
    """Run a Postfix with an empty queue while the block runs."""
    home = Path(tempfile.mkdtemp(prefix="mercury-bench-postfix-"))
    home.chmod(0o755)
    owner = pwd.getpwnam(OWNER).pw_uid
    (home / "queue/pid").mkdir(parents=True)
    for name, mode in {"data": 0o700, "queue/public": 0o710, "queue/maildrop": 0o730}.items():
        (home / name).mkdir(mode=mode)
        os.chown(home / name, owner, -1)
    for name in QUEUES.split():
        (home / "queue" / name).mkdir(mode=0o700)
        os.chown(home / "queue" / name, owner, -1)
    postfix = Postfix(package, home, instance.pick_free_port(), sink, concurrency)
    postfix.start()
    try:
        instance.wait_until(lambda: instance.listens(postfix.port))
        yield postfix
    finally:
        postfix.master.terminate()
        postfix.master.wait()
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def running_sink(package: Path) -> Iterator[int]:
    """Postfix's own smtp-sink, which takes everything at once, while the block runs; its port."""
    port = instance.pick_free_port()
    environment = {"LD_LIBRARY_PATH": str(package / "usr/lib/postfix")}
    command = [package / "usr/sbin/smtp-sink", "-u", OWNER, f"127.0.0.1:{port}", "1000"]
    process = subprocess.Popen(command, env=environment)
    try:
        instance.wait_until(lambda: instance.listens(port))
        yield port
    finally:
        process.terminate()
        process.wait()


def unpack(folder: Path) -> Path:
    """Debian's package, unpacked into the folder. Raises ServiceMissing."""
    root = folder / "postfix"
    if root.exists():
        return root
    if os.geteuid() or not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise ServiceMissing(
            "Postfix is unpacked from Debian's package and runs as root: apt-get, dpkg-deb or root is missing"
        )
    download = Path(tempfile.mkdtemp(prefix="mercury-bench-postfix-"))
    try:
        subprocess.run(["apt-get", "download", "-qq", "postfix"], cwd=download, check=True, capture_output=True)
        subprocess.run(["dpkg-deb", "-x", next(download.glob("postfix_*.deb")), root], check=True)
    except (subprocess.CalledProcessError, StopIteration) as error:
        raise ServiceMissing("apt-get cannot download Postfix; is there a package list (apt-get update)?") from error
    finally:
        shutil.rmtree(download)
    return root
