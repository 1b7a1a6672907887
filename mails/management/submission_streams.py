"""The words of `manage.py streams` about the streams that emails are accepted from."""

from functools import partial
from typing import Any

from django.core.management.base import CommandError

from mails.management.stream_changes import StreamChange, change_stream
from mails.models import SubmissionStream
from mails.reporting.submission_stream_status import SubmissionStreamStatus, list_submission_streams
from mails.stream_pauses import pause, resume
from mails.submission_streams import steering
from mails.submission_streams.config import PREFIX, WRITE, load_streams
from mercury.lib import commands
from mercury.lib.commands import ExitCode, Output
from mercury.lib.database import database_clock
from mercury.lib.durations import format_duration

WORDS = [INTAKE, PAUSE, RESUME, FORGET] = ["intake", "pause-intake", "resume-intake", "forget"]
COLUMNS = {
    "name": "Stream",
    "state": "State",
    "target": "Reads",
    "key": "Key",
    "waiting": "Waiting",
    "rate": "Records/s",
    "accepted": "Accepted",
    "rejected": "Rejected",
    "last_at": "Last (UTC)",
    "error": "Error",
}
TONES = {"reading": "ok", "paused": "waiting", "no key": "bad", "failing": "bad", "stopped": "bad", "new": "neutral"}
EMPTY = f"Emails are accepted from no stream. Set {PREFIX}<NAME> for the workers. {WRITE}"


def add_words(words: Any) -> None:
    """Declare the subcommands."""
    commands.add_subcommand(words, INTAKE, "List the streams that emails are accepted from.")
    for word, text in (
        (PAUSE, "Accept no emails from a stream until it is resumed. Its records wait."),
        (RESUME, "Accept emails from a stream again, what has waited first."),
        (FORGET, "Forget a stream that emails were accepted from. Remove its variable from the workers first."),
    ):
        changing = commands.add_subcommand(words, word, text, makes_changes=True)
        changing.add_argument("name", metavar="NAME", help="The stream, as `intake` shows it.")


def run(out: Output, word: str, options: dict[str, Any]) -> ExitCode | None:
    """Run one of the subcommands."""
    if word == INTAKE:
        out.write_rows(_list_rows(as_json=out.as_json), columns=COLUMNS, tones=TONES, empty=EMPTY)
        return None
    name = options["name"]
    if not SubmissionStream.objects.filter(name=name).exists():
        raise CommandError(f"There is no stream '{name}'. List them: manage.py streams intake")
    return change_stream(out, _CHANGES[word], name, options)


_CHANGES = {
    PAUSE: StreamChange(
        "pause", "Accept no emails from {} until it is resumed?", "paused", partial(pause, SubmissionStream)
    ),
    RESUME: StreamChange("resume", "Accept emails from {} again?", "resumed", partial(resume, SubmissionStream)),
    FORGET: StreamChange(
        "forget",
        "Forget {}, its counts, and the positions of its shards if it is of Kinesis?",
        "forgotten",
        steering.forget,
    ),
}


def _list_rows(*, as_json: bool) -> list[dict[str, object]]:
    """Return a row for each stream that is in use, or named in this environment."""
    known = list_submission_streams(database_clock.now())
    fresh = load_streams().keys() - {stream.name for stream in known}
    configured = [load_streams()[name] for name in sorted(fresh)]
    return [_build_row(stream, as_json) for stream in known] + [
        {"name": config.name, "state": "new", "target": config.target, "key": config.key_prefix}
        for config in configured
    ]


def _build_row(stream: SubmissionStreamStatus, as_json: bool) -> dict[str, object]:
    waiting: object = stream.lag
    if stream.lag is None and stream.lag_seconds is not None and not as_json:
        waiting = format_duration(stream.lag_seconds)
    return {
        "name": stream.name,
        "state": stream.state,
        "target": stream.target,
        "key": stream.key_prefix,
        "waiting": waiting,
        "waiting_seconds": stream.lag_seconds,
        "rate": round(stream.rate, 1),
        "accepted": stream.accepted,
        "rejected": stream.rejected,
        "last_at": stream.last_at,
        "error": stream.error,
        "last_rejection": stream.last_rejection,
    }
