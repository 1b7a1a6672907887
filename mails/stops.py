"""What keeps a mail from going out that is none of its own: the hold of the house and the pause of its lane, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from mails import house, pauses
from mails.models import HouseHold, LanePause, Mail
from mails.states import DUE, LEASED


@dataclass(frozen=True, slots=True)
class Stop:
    """The hold and the pause that stand over a mail; each None where there is none."""

    hold: HouseHold | None = None
    pause: LanePause | None = None

    @property
    def mark(self) -> str:
        """Which of them stand, for whoever must notice that another one does: `house-3.lane-7`; empty where none does."""
        hold = f"house-{self.hold.pk}" if self.hold else ""
        pause = f"lane-{self.pause.pk}" if self.pause else ""
        return ".".join(filter(None, (hold, pause)))

    @property
    def words(self) -> list[str]:
        """A sentence for each."""
        told = []
        if self.hold:
            since = f"since {self.hold.held_at:%Y-%m-%d %H:%M} UTC by {self.hold.who}"
            told.append(f"The house is held {since}: nothing is sent until it is released.")
        if self.pause:
            since = f"since {self.pause.paused_at:%Y-%m-%d %H:%M} UTC"
            told.append(f"The lane is paused {since}: no mail of it goes out until it is resumed.")
        return told


NO_STOP = Stop()


def over(mail: Mail) -> Stop:
    """What keeps this mail from going on: two queries, by an index each, and none for a mail that is not on its way."""
    if mail.status not in {*DUE, *LEASED}:
        return NO_STOP
    return Stop(house.hold(), pauses.standing().get(mail.lane))
