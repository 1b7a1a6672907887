"""The pause of a lane: while it stands, the lane's mails are taken and kept, and none is handed to a provider.

It is a row, so that every process on every machine keeps to it: the claim and each step to SENDING ask for it.
"""

import datetime as dt
import uuid
from collections.abc import Collection

import structlog
from django.db.models import Q

from mails.lanes import Lane
from mails.models import LanePause, Mail
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)


class UnknownLane(ValueError):
    """There is no lane of this name. The text says which there are."""

    def __init__(self, name: str) -> None:
        super().__init__(f"There is no lane '{name}'. Known: {', '.join(Lane.values)}.")


def lane(name: str) -> Lane:
    """The lane of this name. Raises UnknownLane."""
    try:
        return Lane(name)
    except ValueError:
        raise UnknownLane(name) from None


def standing() -> dict[str, LanePause]:
    """The pauses that stand now, by lane."""
    return {pause.lane: pause for pause in LanePause.objects.filter(resumed_at=None)}


def kept_back(mail_ids: Collection[uuid.UUID], *, since: dt.datetime) -> set[uuid.UUID]:
    """Those of the mails whose lane is paused, or was at any time since then."""
    paused = LanePause.objects.filter(Q(resumed_at=None) | Q(resumed_at__gte=since)).values("lane")
    return set(Mail.objects.filter(pk__in=mail_ids, lane__in=paused).values_list("pk", flat=True))


def place(lane: Lane, *, by: str, note: str = "") -> bool:
    """Pause the lane; False if it was paused before. Calls under way end as they would have."""
    asked = {"paused_at": database_clock.now(), "paused_by": by, "note": note}
    _, placed = LanePause.objects.get_or_create(lane=lane, resumed_at=None, defaults=asked)
    if placed:
        log.warning("lane_paused", lane=lane.value, by=by)
    return placed


def lift(lane: Lane, *, by: str) -> bool:
    """Resume the lane; False if it was not paused."""
    standing = LanePause.objects.filter(lane=lane, resumed_at=None)
    lifted = standing.update(resumed_at=database_clock.now(), resumed_by=by)
    if lifted:
        log.warning("lane_resumed", lane=lane.value, by=by)
    return bool(lifted)
