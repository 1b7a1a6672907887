"""The hold of the whole house: while it stands, mails are taken and kept, and nothing is handed to a provider.

It is a row, so that every process on every machine keeps to it: the claim and each step to SENDING ask for it.
"""

import datetime as dt

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from mails.models import Duty, HouseHold
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)

START = "MERCURY_START_PAUSED"
ALIVE = dt.timedelta(minutes=10)  # a house that swept or was released within these was restarted, not restored


def hold() -> HouseHold | None:
    """The hold that stands now, None while the house is open."""
    return HouseHold.objects.filter(released_at=None).order_by("id").first()


def stood(*, since: dt.datetime) -> bool:
    """Whether the house is held, or was at any time since then."""
    return HouseHold.objects.filter(Q(released_at=None) | Q(released_at__gte=since)).exists()


def place(*, by: str, note: str = "", at_start: bool = False) -> bool:
    """Hold the house; False if it was held before. Calls under way end as they would have."""
    with transaction.atomic():
        if hold() is not None:
            return False
        HouseHold.objects.create(held_at=database_clock.now(), held_by=by, note=note, at_start=at_start)
    log.warning("house_held", by=by)
    return True


def lift(*, by: str) -> bool:
    """Release the house; False if it was not held."""
    lifted = HouseHold.objects.filter(released_at=None).update(released_at=database_clock.now(), released_by=by)
    if lifted:
        log.warning("house_released", by=by)
    return bool(lifted)


def hold_at_start() -> None:
    """Hold the house if `MERCURY_START_PAUSED` asks for it; called before a process claims its first mail.

    A hold that was released stays so over restarts. A house without a sign of life for ten minutes may have been
    restored from a back-up that knows of that release: it is held again.
    """
    if not settings.MERCURY_START_PAUSED:
        return
    since = database_clock.now() - ALIVE
    released = HouseHold.objects.filter(at_start=True, released_at__isnull=False)
    alive = Duty.objects.filter(expires_at__gt=since).exists() or released.filter(released_at__gt=since).exists()
    if alive and released.exists():
        log.info("start_hold_was_released", setting=START)
        return
    place(by=START, note="Nothing leaves until somebody has looked at what waits.", at_start=True)
