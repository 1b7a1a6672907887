"""How the streams that emails are accepted from do: read or not, how fast, how far behind, and why nothing is accepted."""

import datetime as dt
from dataclasses import dataclass

from mails.models import SubmissionStream

STOPPED_AFTER = dt.timedelta(seconds=60)  # without a look, no process reads the stream


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionStreamStatus:
    """The status of one stream at one moment. `lag`: records that wait; None: it does not say, or is paused."""

    name: str
    state: str  # `reading`, `paused`, `failing`, `no key` (the API key is not usable) or `stopped`: no process reads it
    target: str
    key_prefix: str
    lag: int | None
    lag_seconds: float | None  # age of the next record
    rate: float  # records a second
    consumed: int
    accepted: int
    rejected: int
    last_rejection: str
    last_at: dt.datetime | None
    error: str
    failing_since: dt.datetime | None
    paused_by: str
    paused_at: dt.datetime | None
    seen_at: dt.datetime | None


def list_submission_streams(now: dt.datetime) -> list[SubmissionStreamStatus]:
    """Return the status of all streams, by name. One query."""
    return [_build(row, now) for row in SubmissionStream.objects.order_by("name")]


def _build(row: SubmissionStream, now: dt.datetime) -> SubmissionStreamStatus:
    return SubmissionStreamStatus(
        name=row.name,
        state=_name_state(row, now),
        target=row.target,
        key_prefix=row.key_prefix,
        lag=None if row.paused_at else row.lag,
        lag_seconds=None if row.paused_at else row.lag_seconds,
        rate=row.rate,
        consumed=row.consumed,
        accepted=row.accepted,
        rejected=row.rejected,
        last_rejection=row.last_rejection,
        last_at=row.last_at,
        error=row.last_error,
        failing_since=row.failing_since,
        paused_by=row.paused_by,
        paused_at=row.paused_at,
        seen_at=row.seen_at,
    )


def _name_state(row: SubmissionStream, now: dt.datetime) -> str:
    if row.paused_at is not None:
        return "paused"
    if row.seen_at is None or row.seen_at < now - STOPPED_AFTER:
        return "stopped"
    if not row.last_error:
        return "reading"
    return "no key" if row.is_key_unusable else "failing"
