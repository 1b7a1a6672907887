"""Quarantine of emails that workers die with: such an email is sent apart from others, and held after a second death.

A worker that crashes loses all its calls at once, so that one message which crashes it (a poison message) makes every
email in flight look guilty. `Mail.claims` counts the hand-overs of an email that ended without a result. From
QUARANTINE_CLAIMS on, few of them are in flight at a time; one that was in flight alone and dies again is poison.
"""

import uuid
from collections.abc import Iterable

from mails.states import QUARANTINE_CLAIMS

POISON_CLAIMS = QUARANTINE_CLAIMS + 1  # hand-overs that ended without a result, after which an email is held

# Results of quarantined emails for each that may be in flight: one at first, two after 128, ten after 640. What dies in
# company is held with the culprit, for it may have been sent twice; a worker lost with 256 emails costs half a minute.
CLEARED_PER_SLOT = 64


def is_poison(claims: int) -> bool:
    """Return True if workers have died with an email so often that it is held."""
    return claims >= POISON_CLAIMS


class Quarantine:
    """Quarantined emails in flight. The event loop notes them; the claim pass asks how many more it may send."""

    def __init__(self) -> None:
        self._in_flight: set[uuid.UUID] = set()
        self._cleared = 0  # those whose calls came back

    def note_begun(self, mail_ids: Iterable[uuid.UUID]) -> None:
        """Note the calls of these quarantined emails."""
        self._in_flight |= set(mail_ids)

    def note_ended(self, mail_ids: Iterable[uuid.UUID]) -> None:
        """Note that the calls of these emails came back, quarantined or not."""
        cleared = self._in_flight.intersection(mail_ids)
        self._in_flight -= cleared
        self._cleared += len(cleared)

    def count_free(self) -> int:
        """Return how many more may be handed over now."""
        return max(max(1, self._cleared // CLEARED_PER_SLOT) - len(self._in_flight), 0)

    def is_empty(self) -> bool:
        """Return True if none is in flight."""
        return not self._in_flight
