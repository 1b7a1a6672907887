"""The alerts about streams that emails are accepted from. A pure function of their status."""

import datetime as dt
from collections.abc import Iterable, Sequence

from mails.reporting.account_alerts import Alert
from mails.reporting.submission_stream_status import SubmissionStreamStatus
from mercury.lib.durations import format_duration

LONG_FAILING = dt.timedelta(minutes=1)  # a limit of the key, or a broker that starts again, is no alert
LONG_BEHIND = 5 * 60.0  # seconds that a record may wait
FEW = 1000  # records that are never far behind


def find_submission_stream_alerts(streams: Sequence[SubmissionStreamStatus], now: dt.datetime) -> Iterable[Alert]:
    """Yield the alerts of all streams: those that are paused, not read, accept nothing or are far behind."""
    for stream in streams:
        match stream.state:
            case "paused":
                who = stream.paused_by.removeprefix("user:")
                yield _report(
                    stream,
                    "intake_paused",
                    f"Stream {stream.name} is paused by {who}: no emails are accepted from it.",
                    f"Its records wait, as long as its broker keeps them. Resume it: manage.py streams resume-intake {stream.name}",
                )
            case "no key":
                yield _report(
                    stream,
                    "intake_no_key",
                    stream.error,
                    "Its records wait, and are accepted in order once the key is usable.",
                )
            case "stopped":
                yield _report(
                    stream,
                    "intake_stopped",
                    f"No worker accepts emails from stream {stream.name}.",
                    f"Start a worker with the role intake and SUBMISSION_STREAM_… set, or give it up: "
                    f"manage.py streams forget {stream.name}",
                )
            case "failing" if stream.failing_since is not None and now - stream.failing_since > LONG_FAILING:
                yield _report(
                    stream,
                    "intake_failing",
                    f"Nothing is accepted from stream {stream.name} ({stream.error.removesuffix('.')}).",
                    "Its records wait, and are accepted in order once the cause is gone.",
                )
            case _ if wait := _find_wait(stream):
                yield _report(
                    stream,
                    "intake_behind",
                    f"Stream {stream.name} is behind: {wait}.",
                    "Start more workers with the role intake, or give the topic more partitions or shards.",
                )


def _find_wait(stream: SubmissionStreamStatus) -> str:
    """Return how far the stream is behind, if that is far; else nothing."""
    if stream.lag_seconds is not None and stream.lag_seconds > LONG_BEHIND:
        return f"the next record is {format_duration(stream.lag_seconds)} old"
    if stream.lag is not None and stream.lag > max(FEW, stream.rate * LONG_BEHIND):
        return f"{stream.lag:,} records wait, and {stream.rate:,.1f} a second are accepted"
    return ""


def _report(stream: SubmissionStreamStatus, code: str, sentence: str, remedy: str) -> Alert:
    is_urgent = code == "intake_no_key"
    return Alert(
        code=code,
        tone="bad" if is_urgent else "waiting",
        about=stream.name,
        sentence=sentence,
        remedy=remedy,
        since=_find_begin(stream),
    )


def _find_begin(stream: SubmissionStreamStatus) -> dt.datetime | None:
    """Return since when the stream is in its state, as far as that is known."""
    return {"paused": stream.paused_at, "stopped": stream.seen_at}.get(stream.state, stream.failing_since)
