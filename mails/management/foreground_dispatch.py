"""Dispatch in a command's own process, and wait for emails."""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django.conf import settings
from django.utils import timezone

from mails.management import mail_display
from mails.models import Event, Mail, Worker
from mails.states import FINAL, Status
from mails.timeline.entries import list_entries
from mails.worker import resident_dispatcher
from mercury.lib.commands import Output

ALIVE = dt.timedelta(seconds=15)  # a dispatcher reports every 5 s
POLL_INTERVAL = 0.1  # seconds between two polls of an email

ENDED_STATES = FINAL | {Status.HELD}  # nothing more happens automatically


def is_dispatcher_running() -> bool:
    """Return True if a server or worker has reported recently."""
    return Worker.objects.filter(seen_at__gt=timezone.now() - ALIVE).exists()


@contextmanager
def dispatch(queues: Sequence[str]) -> Iterator[None]:
    """Dispatch the queues in a thread while the block runs, if Mercury is embedded and no other process does.

    With Redis, workers dispatch and this does nothing. Returns when the requests in progress have ended.
    """
    if not settings.MERCURY_EMBEDDED or is_dispatcher_running():
        yield
        return
    resident = resident_dispatcher.ResidentDispatcher(queues)
    resident.start()
    try:
        yield
    finally:
        resident.stop()


def follow_mail(out: Output, mail: Mail, *, seconds: float) -> Mail:
    """Show each step of the email as it is recorded, and return the email in its final state or when the time is up."""
    shown = 0

    def look() -> bool:
        nonlocal shown
        mail.refresh_from_db()  # before its events: a finished email then has all of them
        events = list(Event.objects.of(mail.pk).order_by("id"))
        for entry in list_entries(mail, events, timezone.now()):
            if entry.id is not None and entry.id > shown:
                mail_display.show_entry(out, entry, reasons=True)
                shown = entry.id
        return mail.status in ENDED_STATES

    wait_until(look, seconds=seconds)
    return mail


def wait_until(look: Callable[[], bool], *, seconds: float) -> bool:
    """Poll until `look` returns True, and return True; return False if the time is up first."""
    until = time.monotonic() + seconds
    while not look():
        if time.monotonic() >= until:
            return False
        time.sleep(POLL_INTERVAL)
    return True
