"""Start of a worker in a full instance: `python bench/start.py [--mails N] [--leg embedded|full|both]`.

Emails are due before the process starts. Counted from the start of `manage.py worker` to the moment the local
provider has the head of the first request; the memory is the most that the process had while it sent all of them.
"""

import subprocess
import time
from pathlib import Path

import dispatch
import instance
from instance import WORDS, Instance

LOOK = 0.05  # seconds between two looks at the worker


def measure(leg: str, mails: int) -> None:
    """Print the figures of a leg."""
    with instance.build(leg) as built:
        built.provider.start_afresh(delay_ms=0)
        built.run(dispatch.fill, mails)
        began = time.monotonic_ns()
        worker = built.start("manage.py", "worker", "--burst")
        first_ns = _first_arrival(built) - began
        peak_kb = _peak_memory(worker)
        seconds = (time.monotonic_ns() - began) / 1e9
        accepted = built.provider.count()
    if worker.returncode or accepted != mails:
        raise SystemExit(
            f"Of {mails} emails the provider accepted {accepted}; the worker ended with {worker.returncode}."
        )
    print(
        f"{WORDS[leg]:26} {mails} emails waiting: first send {first_ns / 1e9:.2f} s after the start of the process;"
        f" all sent after {seconds:.0f} s, with {peak_kb / 1024:.0f} MB of memory at most",
        flush=True,
    )


def _first_arrival(built: Instance) -> int:
    """Return when the first email reached the provider, by the monotonic clock in nanoseconds."""
    instance.wait_until(lambda: built.provider.count() > 0)
    arrived: int = built.provider.read_received()["mails"][0]["arrived_ns"]
    return arrived


def _peak_memory(process: subprocess.Popen[bytes]) -> int:
    """Wait for the process to end; the most memory it had, in kB."""
    peak = 0
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max(peak, *(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)
        time.sleep(LOOK)
    return peak


if __name__ == "__main__":
    instance.main("Start", measure, mails=100_000, most=1_000_000)
