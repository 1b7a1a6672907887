"""Settings of one dispatcher: read once, then passed to each step as values."""

import datetime as dt
import os
import socket
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatcherSettings:
    """Settings that every step of a dispatcher follows, as values."""

    worker: str  # whose steps they are
    deadline: float  # seconds, of one call; over SMTP, until the final dot
    final_reply: float  # seconds that an SMTP server has to answer it
    connect_timeout: float  # seconds
    lease: dt.timedelta
    backoff: Sequence[dt.timedelta]


def read_settings(worker: str) -> DispatcherSettings:
    """Return the settings for this worker's dispatcher; without a name, it gets a new one."""
    return DispatcherSettings(
        worker=worker or name_process(),
        deadline=settings.MERCURY_SEND_TIMEOUT.total_seconds(),
        final_reply=settings.MERCURY_FINAL_REPLY_TIMEOUT.total_seconds(),
        connect_timeout=settings.MERCURY_CONNECT_TIMEOUT.total_seconds(),
        lease=settings.MERCURY_LEASE,
        backoff=settings.MERCURY_RETRY_BACKOFF,
    )


def name_process() -> str:
    """Return a name for the heartbeat's row: host, process, and a random part against reused process numbers."""
    return f"{socket.gethostname()[:60]}:{os.getpid()}:{uuid.uuid4().hex[:6]}"
