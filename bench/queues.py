"""Measure if bulk email delays text email: `python bench/queues.py [--bulk N] [--seconds S] [--leg embedded|full|both]`.

Text emails arrive over the API at a steady rate, with the queue `bulk` paused and then with it running, by turns, so that a
slow moment of the machine meets both. Prints the time from the moment that Mercury accepted an email (`created_at`) until
its request arrived at the provider. One and the same process sends both: embedded the web process, full one worker.
"""

import argparse
import json
import time
from dataclasses import dataclass, field
from datetime import datetime

import dispatch
import instance
from instance import LEGS, WORDS, Instance, ServiceMissing, wait_until
from intake import connect, read_answer

TIMED = "timed-text"  # subject of the emails whose time is measured
ROUNDS = 3  # idle and loaded by turns
WARM_UP = 2.0  # seconds of emails before each turn that are not counted
BULK_READY = 200  # bulk emails at the provider before a loaded turn begins
DELAY_MS = 50  # of the provider
DEFAULT = {"bulk": 50_000, "seconds": 10.0, "rate": 20.0}


@dataclass(slots=True)
class Figures:
    """Seconds from acceptance to the provider, of the emails of some turns, and the bulk emails sent in them."""

    waits: list[float] = field(default_factory=list)
    bulk: int = 0
    seconds: float = 0.0

    def pick(self, share: float) -> float:
        """Return the time in ms that this share of the emails kept to."""
        return sorted(self.waits)[min(len(self.waits) - 1, int(len(self.waits) * share))] * 1000

    def __str__(self) -> str:
        figures = ", ".join(f"p{share * 100:g} {self.pick(share):6.1f} ms" for share in (0.5, 0.95, 0.99))
        return (
            f"{len(self.waits):5} text emails, to the provider {figures}; bulk {self.bulk / self.seconds:6.0f} emails/s"
        )


def read_accepted(ids: list[str]) -> dict[str, float]:
    """Return when these emails were accepted, in seconds since the Unix epoch."""
    from mails.models import Mail

    found: dict[str, float] = {}
    for first in range(0, len(ids), 500):
        rows = Mail.objects.filter(pk__in=ids[first : first + 500]).values_list("pk", "created_at")
        found |= {str(mail_id): _count_seconds(created_at) for mail_id, created_at in rows}
    return found


def _count_seconds(moment: datetime) -> float:
    return moment.timestamp()


def count_waiting() -> int:
    """Return the bulk emails that wait."""
    from mails.models import Mail

    return Mail.objects.filter(queue="bulk", status__in=("queued", "waiting")).count()


def set_bulk(verb: str) -> None:
    """`pause` or `resume` the queue `bulk`."""
    from mails.actions import pausing

    change = {"pause": pausing.pause_sending, "resume": pausing.resume_sending}[verb]
    change("bulk", by="bench")


def post_steadily(port: int, key: str, *, seconds: float, rate: float, subject: str) -> None:
    """Post emails at this rate for so long, each at its moment, however long the answer to the last one took."""
    body = json.dumps(
        {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "subject": subject, "content": instance.CONTENT}
    ).encode()
    head = (
        "POST /api/v1.0/mails/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with connect(port) as connection:
        began = time.monotonic()
        for number in range(int(seconds * rate)):
            due = began + number / rate
            time.sleep(max(0.0, due - time.monotonic()))
            connection.sendall(head.encode() + body)
            if not read_answer(connection).startswith(b"HTTP/1.1 202"):
                raise SystemExit("An email was not accepted.")


def measure_turn(built: Instance, port: int, key: str, figures: Figures, *, seconds: float, rate: float) -> None:
    """Add the figures of one turn."""
    post_steadily(port, key, seconds=WARM_UP, rate=rate, subject="warm-up")
    built.provider.start_afresh(delay_ms=DELAY_MS, remember=TIMED)
    began = time.monotonic()
    post_steadily(port, key, seconds=seconds, rate=rate, subject=TIMED)
    figures.seconds += time.monotonic() - began
    accepted = built.provider.count()
    wait_until(lambda: len(built.provider.read_received()["mails"]) >= int(seconds * rate))
    arrived = {mail["mail_id"]: mail["arrived_ns"] for mail in built.provider.read_received()["mails"]}
    epoch = time.time() - time.monotonic()  # the provider's clock is monotonic, and of the same machine
    figures.waits += [
        epoch + arrived[mail_id] / 1e9 - created_at
        for mail_id, created_at in built.run(read_accepted, list(arrived)).items()
    ]
    figures.bulk += max(0, accepted - len(arrived))


def measure(leg: str, options: argparse.Namespace) -> None:
    """Print the figures of a leg."""
    idle, loaded = Figures(), Figures()
    with instance.build(leg) as built, instance.serving(built, processes=1) as (port, _):
        key = built.run(instance.make_key)
        built.run(set_bulk, "pause")
        built.run(dispatch.fill, options.bulk, (), "bulk")
        if leg == "full":
            built.start("manage.py", "worker")
        post_steadily(port, key, seconds=WARM_UP, rate=options.rate, subject="warm-up")
        wait_until(lambda: built.provider.count() >= int(WARM_UP * options.rate))
        for _ in range(ROUNDS):
            measure_turn(built, port, key, idle, seconds=options.seconds, rate=options.rate)
            built.provider.start_afresh(delay_ms=DELAY_MS)
            built.run(set_bulk, "resume")
            wait_until(lambda: built.provider.count() >= BULK_READY)
            measure_turn(built, port, key, loaded, seconds=options.seconds, rate=options.rate)
            left = built.run(count_waiting)
            built.run(set_bulk, "pause")
            if not left:
                raise SystemExit(
                    "No bulk email was left at the end: take more of them (--bulk) or less time (--seconds)."
                )
    print(f"{WORDS[leg]:26} bulk paused : {idle}", flush=True)
    print(f"{WORDS[leg]:26} bulk running: {loaded}; {left} bulk emails left", flush=True)
    print(f"{WORDS[leg]:26} p99 with bulk / p99 without: {loaded.pick(0.99) / idle.pick(0.99):.2f}", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bulk", type=int, default=DEFAULT["bulk"], help="Bulk emails that wait.")
    parser.add_argument("--seconds", type=float, default=DEFAULT["seconds"], help="Length of each of the six turns.")
    parser.add_argument("--rate", type=float, default=DEFAULT["rate"], help="Text emails that arrive in a second.")
    parser.add_argument("--leg", choices=(*LEGS, "both"), default="both")
    options = parser.parse_args()
    instance.say_what(f"Text email and bulk email, provider {DELAY_MS} ms", options.bulk)
    for leg in LEGS if options.leg == "both" else (options.leg,):
        try:
            measure(leg, options)
        except ServiceMissing as missing:
            raise SystemExit(f"{WORDS[leg]}: {missing}. Start it, or choose --leg embedded.") from missing


if __name__ == "__main__":
    main()
