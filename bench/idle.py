"""Waiting time of an email when the instance is idle: `python bench/idle.py [--mails N] [--leg embedded|full|both]`.

One client posts an email, waits a random while, posts the next: gunicorn, and in the full leg one `manage.py worker`, have
nothing else to do. Counted from the moment the client has read the 202 to the moment the local provider has the request's
head; all clocks are this machine's monotonic one. Below zero: the provider had it before the client had its answer.
"""

import http.client
import json
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import instance
from instance import CONTENT, WORDS, Instance

WARM_UP = 20  # mails before the measurement
PAUSE = (0.02, 0.2)  # seconds between two mails, from and to
PROCESSES = {"embedded": 1, "full": 2}


def measure(leg: str, mails: int) -> None:
    """Print the figures of a leg."""
    with instance.build(leg) as built:
        built.provider.start_afresh(delay_ms=0)
        key = built.run(instance.make_key)
        with instance.serving(built, processes=PROCESSES[leg]) as (port, _), _worker(built):
            _post(port, key, "warm-up", WARM_UP)
            instance.wait_until(lambda: built.provider.count() == WARM_UP)
            posted = _post(port, key, "mail", mails)
            instance.wait_until(lambda: built.provider.count() == WARM_UP + mails)
        arrived = {mail["subject"]: mail["arrived_ns"] for mail in built.provider.read_received()["mails"]}
    waits = [(arrived[subject] - answered) / 1e6 for subject, (_, answered) in posted.items()]
    posts = [(answered - began) / 1e6 for began, answered in posted.values()]
    print(
        f"{WORDS[leg]:26} 202 to the provider's socket: {_spread(waits)}; the POST itself: {_spread(posts)}", flush=True
    )


@contextmanager
def _worker(built: Instance) -> Iterator[None]:
    """Run a worker while the block runs, where the web process does not send by itself."""
    if built.leg == "embedded":
        yield
        return
    worker = built.start("manage.py", "worker")
    try:
        yield
    finally:
        worker.terminate()
        instance.wait_for(worker)


def _post(port: int, key: str, name: str, mails: int) -> dict[str, tuple[int, int]]:
    """Post `mails` emails one at a time; return by subject when the request began and when its answer was read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    times: dict[str, tuple[int, int]] = {}
    for number in range(mails):
        subject = f"{name} {number}"
        mail = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "subject": subject, "content": CONTENT}
        body = json.dumps(mail).encode()
        began = time.monotonic_ns()
        connection.request("POST", "/api/v1.0/mails/", body, headers)
        answer = connection.getresponse()
        answer.read()
        times[subject] = began, time.monotonic_ns()
        if answer.status != http.HTTPStatus.ACCEPTED:
            raise SystemExit(f"An email was answered with {answer.status}.")
        time.sleep(random.uniform(*PAUSE))
    connection.close()
    return times


def _spread(values: Sequence[float]) -> str:
    ordered = sorted(values)
    p50, p95, p99 = (ordered[min(len(ordered) - 1, len(ordered) * part // 100)] for part in (50, 95, 99))
    return f"p50 {p50:.1f} p95 {p95:.1f} p99 {p99:.1f} max {ordered[-1]:.1f} ms"


if __name__ == "__main__":
    instance.main("Idle", measure, mails=300)
