"""Quarantine of emails that workers die with: such an email is sent apart from others, and held after a second death.

A worker that crashes loses all its calls at once, so that one message which crashes it (a poison message) makes every
email in flight look guilty. `Mail.claims` counts the hand-overs of an email that ended without a result. From
QUARANTINE_CLAIMS on, few of them are in flight at a time; one that was in flight alone and dies again is poison.
"""

import uuid
from collections.abc import Iterable

from mails.states import QUARANTINE_CLAIMS

POISON_CLAIMS = QUARANTINE_CLAIMS + 1  # hand-overs that ended without a result, after which an email is held

# Results of quarantined emails after which twice as many may be in flight: one at first, two after 64, sixteen after 256.
# What dies in company is held with the culprit, for it may have been sent twice. A worker lost with 256 emails costs a
# minute where a call takes 400 ms, and a thousand emails not much more.
CLEARED_PER_DOUBLING = 64
MOST_IN_FLIGHT = 16


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
        if not self._in_flight:
            return
        cleared = self._in_flight.intersection(mail_ids)
        self._in_flight -= cleared
        self._cleared += len(cleared)

    def count_free(self) -> int:
        """Return how many more may be handed over now."""
        doublings = min(self._cleared // CLEARED_PER_DOUBLING, MOST_IN_FLIGHT.bit_length() - 1)
        return max((1 << doublings) - len(self._in_flight), 0)

    def is_empty(self) -> bool:
        """Return True if none is in flight."""
        return not self._in_flight
