"""The row of a stream: what was consumed, how far it is behind, and why nothing is accepted."""

import structlog
from django.db.models import F, QuerySet, Value
from django.db.models.functions import Coalesce

from mails.models import SubmissionStream
from mails.submission_streams.config import StreamConfig
from mails.submission_streams.sources.base import Lag
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)

MOST_REASON = 500  # characters
RATE_SECONDS = 60.0  # that a rate is measured over


class StreamState:
    """What the readers of one stream write into its row. Several processes may; their counts add up."""

    def __init__(self, config: StreamConfig) -> None:
        self._config = config
        self._is_known = False
        self._failing = ""  # as this process has noted it

    def begin(self) -> None:
        """Create the row, or correct what the environment says otherwise now. A query, once."""
        if self._is_known:
            return
        now = database_clock.now()
        target, prefix = self._config.target[:300], self._config.key_prefix
        row = SubmissionStream(name=self._config.name, target=target, key_prefix=prefix, created_at=now, rate_since=now)
        SubmissionStream.objects.bulk_create([row], ignore_conflicts=True)
        self._rows.update(target=target, key_prefix=prefix)
        self._is_known = True

    def is_paused(self) -> bool:
        """Return True while somebody has paused the stream; then record that a process looks at it. A query."""
        paused = self._rows.filter(paused_at__isnull=False)
        return paused.exists() and bool(paused.update(seen_at=database_clock.now()))

    def note_finished(self, *, consumed: int, accepted: int, rejected: int, rejection: str) -> None:
        """Count finished records. `accepted`: new emails; `rejection`: why the last rejected record was."""
        now = database_clock.now()
        self._rows.update(
            consumed=F("consumed") + consumed,
            accepted=F("accepted") + accepted,
            rejected=F("rejected") + rejected,
            last_at=now,
            seen_at=now,
            **({"last_rejection": rejection[:MOST_REASON]} if rejected else {}),
        )

    def note_working(self) -> None:
        """Record that the stream is read again, if this process has said otherwise."""
        if self._failing:
            self._failing = ""
            self._rows.update(last_error="", failing_since=None, is_key_unusable=False)
            log.info("submission_stream_back", stream=self._config.name)

    def note_failure(self, error: str, *, about_key: bool = False) -> None:
        """Record why nothing is accepted now."""
        if self._failing != error:
            log.warning("submission_stream_failing", stream=self._config.name, error=error)
        self._failing = error
        now = database_clock.now()
        self._rows.update(
            last_error=error[:MOST_REASON],
            failing_since=Coalesce("failing_since", Value(now)),
            is_key_unusable=about_key,
            seen_at=now,
        )

    def note_look(self, lag: Lag | None) -> None:
        """Record that the stream is read, how far it is behind, if that is known, and about once a minute the rate."""
        now = database_clock.now()
        known = {} if lag is None else {"lag": lag.records, "lag_seconds": lag.seconds}
        self._rows.update(seen_at=now, **known)
        row = self._rows.first()
        if row is None:
            self._is_known = False  # an operator has removed it
            return
        seconds = (now - row.rate_since).total_seconds()
        if seconds >= RATE_SECONDS or seconds < 0:
            rate = (row.consumed - row.rate_consumed) / seconds if seconds > 0 else 0.0
            measured = self._rows.filter(rate_since=row.rate_since)  # one process does
            measured.update(rate=rate, rate_since=now, rate_consumed=row.consumed)

    @property
    def _rows(self) -> QuerySet[SubmissionStream]:
        return SubmissionStream.objects.filter(name=self._config.name)
