"""Deletes entries of the suppression list that have expired. They suppress nobody from the moment of their expiry on."""

import datetime as dt
import time

from mails.suppression import entries

TASK = "expired-suppressions"
EVERY = dt.timedelta(minutes=1)


def remove(*, seconds: float) -> None:
    """Delete them for about so long. Several processes may do it at once."""
    until = time.monotonic() + seconds
    while entries.remove_expired() == entries.BATCH and time.monotonic() < until:
        pass
