"""Measure how fast a backlog is dispatched: `python bench/dispatch.py [--mails N] [--leg embedded|full|both]`.

Fills a database, lets `manage.py worker --burst` send everything to a local provider, and then compares what Mercury
recorded with what the provider accepted. The rate is counted from the first attempt opened to the last one closed. On
PostgreSQL a bare dispatcher (`bare_dispatcher.py`) sends as many emails after each run of Mercury, as a yardstick.
"""

import datetime as dt
import io
from collections.abc import Sequence
from dataclasses import dataclass

import bare_dispatcher
import instance
from instance import CONTENT, WORDS, Instance

BARE = {"own": "  bare, Mercury's client", "aiohttp": "  bare, aiohttp"}
ROUNDS = 2  # times that Mercury and the bare dispatcher take turns
BATCH = 500  # emails stored at once when filling


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Mercury's own record of the emails."""

    done: int
    attempts: int
    seconds: float  # from the first attempt opened to the last one closed


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Figures of one run."""

    rate: float  # emails per second
    cpu_ms: float  # of the sending processes, for one email
    database_ms: float  # of PostgreSQL, for one email

    @classmethod
    def of(cls, mails: int, seconds: float, cpu: float, database: float) -> "Figures":
        """Return the figures of a run that took these seconds and this CPU."""
        return cls(rate=mails / seconds, cpu_ms=cpu / mails * 1000, database_ms=database / mails * 1000)

    def __str__(self) -> str:
        in_database = f" ({self.database_ms:.2f} in PostgreSQL)" if self.database_ms else ""
        return f"{self.rate:6.0f} emails/s, {self.cpu_ms:.2f} ms of CPU per email{in_database}"


def fill(count: int, send_at: Sequence[float] = (), queue: str = "text") -> None:
    """Store emails of this queue as intake would: due now, or scheduled for these moments (seconds since 1970), in turn."""
    from django.db import transaction

    from mails.lifecycle import writer
    from mails.lifecycle.values import EventDraft, MailState, NewMail
    from mails.message.message import Message, MessageRecipient
    from mails.models import Mail, uuid7
    from mails.states import Actor, EventName, Source, Status
    from mercury.lib.database import database_clock

    def build_message(number: int) -> Message:
        return Message(
            sender="zeus@olimpus.com",
            recipients=(MessageRecipient(address="hera@olimpus.com"),),
            subject=f"mail {number}",
            text=CONTENT,
        )

    def choose_time(number: int) -> dt.datetime | None:
        return dt.datetime.fromtimestamp(send_at[number % len(send_at)], tz=dt.UTC) if send_at else None

    for first in range(0, count, BATCH):
        now_ns = database_clock.now_ns()
        now = database_clock.from_ns(now_ns)
        names = (EventName.NEW, EventName.ACCEPTED, EventName.ENQUEUE)
        events = tuple(
            EventDraft(event=name, by=Actor.MAIL_SERVICE, at_ns=now_ns, blob={"queue": queue}) for name in names
        )
        new = [
            NewMail(
                mail=Mail(
                    id=uuid7(),
                    source=Source.COMMAND,
                    created_at=now,
                    queue=queue,
                    delivery_guarantee="at-least-once",
                    send_at=due_at,
                    expires_at=(due_at or now) + dt.timedelta(days=3),
                    **message.columns,
                ),
                message=message,
                state=MailState(status=Status.QUEUED, next_attempt_at=due_at or now),
                events=events,
            )
            for message, due_at in (
                (build_message(number), choose_time(number)) for number in range(first, min(first + BATCH, count))
            )
        ]
        with transaction.atomic():
            writer.create(new)


def fill_with_file(count: int, size: int) -> None:
    """Store emails with HTML and one attached file of `size` bytes, as a client would: the file is uploaded once."""
    from mails.files import uploads
    from mails.intake.accept import accept
    from mails.intake.client import Client
    from mails.intake.receipts import Stored
    from mails.intake.submission import Submission
    from mails.states import Source

    client = Client(source=Source.COMMAND)
    file = uploads.receive(
        io.BytesIO(bytes(size)).read,
        filename="seal.bin",
        declared="application/octet-stream",
        size=size,
        owner=client.file_owner,
    )
    shared = {
        "sender": "zeus@olimpus.com",
        "recipient": "hera@olimpus.com",
        "content": CONTENT,
        "html": f"<p>{CONTENT}</p>",
        "attachments": [{"file": str(file.pk)}],
    }
    for first in range(0, count, BATCH):
        numbers = range(first, min(first + BATCH, count))
        new = [Submission(fields=shared | {"subject": f"mail {number}"}) for number in numbers]
        refused = [receipt for receipt in accept(new, client=client) if not isinstance(receipt, Stored)]
        if refused:
            raise SystemExit(f"Not stored: {refused[0]}")


def read_records() -> Records:
    """Return what the workers recorded."""
    from django.db.models import Max, Min

    from mails.models import Attempt, Mail
    from mails.states import Status

    times = Attempt.objects.aggregate(first=Min("opened_at"), last=Max("closed_at"))
    return Records(
        done=Mail.objects.filter(status=Status.DONE).count(),
        attempts=Attempt.objects.count(),
        seconds=(times["last"] - times["first"]).total_seconds(),
    )


def measure(leg: str, mails: int) -> None:
    """Print the figures of a leg, each from a database of its own; on PostgreSQL next to those of the bare dispatcher."""
    for delay_ms, workers in ((0, 1), (200, 1), *(((0, 2), (200, 2)) if leg == "full" else ())):
        for _ in range(ROUNDS if leg == "full" else 1):
            figures = _measure_mercury(leg, mails, delay_ms, workers)
            who = f"{workers} worker{'s' * (workers > 1)}"
            print(
                f"{WORDS[leg]:26} provider {delay_ms:3} ms, {who:9}: {figures}; all done, each accepted once",
                flush=True,
            )
            for client in BARE if leg == "full" else ():
                bare = _measure_bare(mails, delay_ms, workers, client)
                print(
                    f"{BARE[client]:26} provider {delay_ms:3} ms, {who:9}: {bare};"
                    f" Mercury: {figures.rate / bare.rate:.2f} x the rate, {figures.cpu_ms / bare.cpu_ms:.2f} x the CPU",
                    flush=True,
                )


def _measure_mercury(leg: str, mails: int, delay_ms: int, workers: int) -> Figures:
    with instance.build(leg) as built:
        built.provider.start_afresh(delay_ms=delay_ms)
        command = ("manage.py", "worker", "--burst")
        start_up = _dispatch(built, command, 1)
        built.run(fill, mails)
        database = instance.database_cpu() if leg == "full" else 0.0
        cpu = _dispatch(built, command, workers) - workers * start_up
        database = instance.database_cpu() - database if leg == "full" else 0.0
        records = built.run(read_records)
        _check(built, records, mails)
    return Figures.of(mails, records.seconds, cpu, database)


def _measure_bare(mails: int, delay_ms: int, workers: int, client: str) -> Figures:
    with instance.build("full") as built:
        built.provider.start_afresh(delay_ms=delay_ms)
        command = ("bench/bare_dispatcher.py", built.provider.base, client)
        built.run(bare_dispatcher.fill, 0, CONTENT)
        start_up = _dispatch(built, command, 1)
        built.run(bare_dispatcher.fill, mails, CONTENT)
        database = instance.database_cpu()
        cpu = _dispatch(built, command, workers) - workers * start_up
        database = instance.database_cpu() - database
        done, seconds = built.run(bare_dispatcher.read_records)
        _check(built, Records(done=done, attempts=done, seconds=seconds), mails)
    return Figures.of(mails, seconds, cpu, database)


def _dispatch(built: Instance, command: Sequence[str], workers: int) -> float:
    """Let workers send what is due, and return the seconds of CPU that they used."""
    processes = [built.start(*command) for _ in range(workers)]
    return sum(instance.wait_for(process) for process in processes)


def _check(built: Instance, records: Records, mails: int) -> None:
    accepted = built.provider.read_received()
    different = len({mail["mail_id"] for mail in accepted["mails"]})
    if not records.done == records.attempts == accepted["count"] == different == mails:
        raise SystemExit(
            f"Of {mails} emails {records.done} are done, with {records.attempts} attempts;"
            f" the provider accepted {accepted['count']}, {different} different ones."
        )


if __name__ == "__main__":
    instance.main("Dispatch", measure, mails=10_000)
