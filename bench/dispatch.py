"""Measure how fast a backlog is dispatched: `python bench/dispatch.py [--mails N] [--leg embedded|full|both]`.

Fills a database, lets `manage.py worker --burst` send everything to a local provider, and then compares what Mercury
recorded with what the provider accepted. The rate is counted from the first attempt opened to the last one closed, and
once more over the whole life of the process.
"""

import datetime as dt
import time
from dataclasses import dataclass

import instance
from instance import CONTENT, WORDS, Instance

BATCH = 500  # emails stored at once when filling


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Mercury's own record of the emails."""

    done: int
    attempts: int
    seconds: float  # from the first attempt opened to the last one closed


def fill(count: int) -> None:
    """Store emails that are due, as intake would."""
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

    for first in range(0, count, BATCH):
        now_ns = database_clock.now_ns()
        now = database_clock.from_ns(now_ns)
        state = MailState(status=Status.QUEUED, next_attempt_at=now)
        names = (EventName.NEW, EventName.ACCEPTED, EventName.ENQUEUE)
        events = tuple(
            EventDraft(event=name, by=Actor.MAIL_SERVICE, at_ns=now_ns, blob={"queue": "text"}) for name in names
        )
        new = [
            NewMail(
                mail=Mail(
                    id=uuid7(),
                    source=Source.COMMAND,
                    created_at=now,
                    queue="text",
                    delivery_guarantee="at-least-once",
                    expires_at=now + dt.timedelta(days=3),
                    **message.columns,
                ),
                message=message,
                state=state,
                events=events,
            )
            for message in (build_message(number) for number in range(first, min(first + BATCH, count)))
        ]
        with transaction.atomic():
            writer.create(new)


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
    """Print the figures of a leg, each from a database of its own."""
    for delay_ms, workers in ((0, 1), (200, 1), *(((0, 2), (200, 2)) if leg == "full" else ())):
        with instance.build(leg) as built:
            built.provider.start_afresh(delay_ms=delay_ms)
            began = time.monotonic()
            start_up = _dispatch(built, 1)
            empty = time.monotonic() - began
            built.run(fill, mails)
            began = time.monotonic()
            cpu = _dispatch(built, workers)
            whole = time.monotonic() - began
            records = built.run(read_records)
            _check(built, records, mails)
        who = f"{workers} worker{'s' * (workers > 1)}"
        print(
            f"{WORDS[leg]:26} provider {delay_ms:3} ms, {who:9}: {mails / records.seconds:6.0f} emails/s"
            f" ({mails / whole:.0f} with a start-up of {empty:.1f} s),"
            f" {(cpu - workers * start_up) / mails * 1000:.2f} ms of CPU per email; all done, each accepted once",
            flush=True,
        )


def _dispatch(built: Instance, workers: int) -> float:
    """Let workers send what is due, and return the seconds of CPU that they used."""
    processes = [built.start("manage.py", "worker", "--burst") for _ in range(workers)]
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
