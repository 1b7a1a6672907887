"""Draining in a command's own process, and waiting for mails while it goes on."""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django.conf import settings
from django.utils import timezone

from mails import timeline
from mails.management import terminal
from mails.models import Event, Mail, Worker
from mails.states import FINAL, Status
from mails.worker import resident_dispatcher
from mercury.lib.commands import Output

ALIVE = dt.timedelta(seconds=15)  # a process that drains says so every 5 s
LOOK = 0.1  # seconds between two looks at a mail

ENDED = FINAL | {Status.HELD}  # nothing more happens by itself


def somebody_drains() -> bool:
    """Whether a server or a worker is seen at work."""
    return Worker.objects.filter(seen_at__gt=timezone.now() - ALIVE).exists()


@contextmanager
def draining(lanes: Sequence[str]) -> Iterator[None]:
    """Drain the lanes in a thread while the block runs, if it is embedded and nobody else does.

    With Redis the workers drain, and nothing happens here. Ends when the calls under way have ended.
    """
    if not settings.MERCURY_EMBEDDED or somebody_drains():
        yield
        return
    resident = resident_dispatcher.ResidentDispatcher(lanes)
    resident.start()
    try:
        yield
    finally:
        resident.stop()


def follow(out: Output, mail: Mail, *, seconds: float) -> Mail:
    """Show each step of the mail as it is recorded; returns the mail as it is when it ended or the time is over."""
    shown = 0

    def look() -> bool:
        nonlocal shown
        mail.refresh_from_db()  # before its events: a mail seen at its end has all of them
        events = list(Event.objects.of(mail.pk).order_by("id"))
        for entry in timeline.entries(mail, events, timezone.now()):
            if entry.id is not None and entry.id > shown:
                terminal.show_entry(out, entry, reasons=True)
                shown = entry.id
        return mail.status in ENDED

    wait_until(look, seconds=seconds)
    return mail


def wait_until(look: Callable[[], bool], *, seconds: float) -> bool:
    """Look again and again until it is true; False if the time is over first."""
    until = time.monotonic() + seconds
    while not look():
        if time.monotonic() >= until:
            return False
        time.sleep(LOOK)
    return True
