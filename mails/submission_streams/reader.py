"""The reader of one stream: reads a group of records, accepts it, and only then acknowledges it.

1. read     a group, from where the stream was last acknowledged
2. accept   its emails in one transaction, with an idempotency key each: a group that is read again leads to the same emails
3. reject   records that will never be an email, into the dead letters
4. finish   acknowledge the group: commit its offsets, delete its entries, or move the position

A process that dies between two steps leaves the group to another reader, or to itself, to be read again. Nothing is lost or
doubled; a dead letter may be written again. Where the fault is not the record's, the reader keeps the group and waits.
"""

import time
from collections.abc import Sequence
from itertools import takewhile

import structlog
from django.db import Error

from mails.access import api_keys
from mails.access.api_keys import Scope
from mails.models import ApiKey
from mails.submission_streams import acceptance
from mails.submission_streams.acceptance import Accepted, Later
from mails.submission_streams.config import StreamConfig
from mails.submission_streams.records import DeadLetter, Rejection, StreamRecord
from mails.submission_streams.sources.base import Source, SourceUnavailable
from mails.submission_streams.state import StreamState
from mercury.lib.database import database_clock
from mercury.lib.storages.errors import StorageUnavailable
from mercury.lib.value import value

log = structlog.get_logger(__name__)

LAG_EVERY = 5.0  # seconds between two looks at how far the stream is behind
PAUSE_AGAIN_AFTER = 2.0  # seconds before the next look at a stream that is paused
KEY_AGAIN_AFTER = 5.0  # seconds before the next look at a key that is not usable
AT_MOST = 30.0  # seconds before the next try of records that may be accepted later


@value
class Pass:
    """Result of one pass. `wait`: seconds before the next one. `is_failing`: the wait grows from pass to pass."""

    records: int = 0
    wait: float = 0.0
    is_failing: bool = False


class _Group:
    """Records of one read, on their way."""

    def __init__(self, records: Sequence[StreamRecord]) -> None:
        self.records = list(records)
        self.waiting = list(records)  # not yet accepted or rejected
        self.letters: list[DeadLetter] = []  # not yet in the dead letters
        self.accepted = self.rejected = 0
        self.rejection = ""

    def take_finished(self) -> list[StreamRecord]:
        """Return, once, the records before the first one that waits. Those behind it are finished later."""
        waiting = {record.position for record in self.waiting}
        finished = list(takewhile(lambda record: record.position not in waiting, self.records))
        self.records = self.records[len(finished) :]
        return finished


class StreamReader:
    """Reads one stream in one thread."""

    def __init__(self, config: StreamConfig, *, process: str) -> None:
        self._config = config
        self._process = process
        self._state = StreamState(config)
        self._source: Source | None = None
        self._group: _Group | None = None
        self._measured_at = -LAG_EVERY

    def run_pass(self) -> Pass:
        """Bring one group as far as possible. Raises a database error: then the group is kept."""
        self._state.begin()
        if self._state.is_paused():
            self.close()
            return Pass(wait=PAUSE_AGAIN_AFTER)
        key = self._find_key()
        if key is None:
            self.close()
            return Pass(wait=KEY_AGAIN_AFTER)
        try:
            return self._run_pass(key)
        except SourceUnavailable as error:
            self.close()
            self._state.note_failure(str(error))
        except StorageUnavailable as error:
            self._state.note_failure(f"The storage of files does not serve: {error}")
        return Pass(is_failing=True)

    def keep(self) -> None:
        """Keep the group while the reader waits. If the stream refuses, it is given up, and read again."""
        if self._source is not None and self._group is not None:
            try:
                self._source.keep(self._group.records)
            except (SourceUnavailable, Error) as error:
                log.info("group_given_up", stream=self._config.name, error=type(error).__name__)
                self.close()

    def close(self) -> None:
        """Leave the stream; what is not acknowledged is read again."""
        source, self._source, self._group = self._source, None, None
        if source is not None:
            source.close()

    def _run_pass(self, key: ApiKey) -> Pass:
        source = self._source = self._source or self._config.open(self._process)
        if self._group is None and (records := source.read()):
            self._group = _Group(records)
        group = self._group
        if group is None:
            self._state.note_working()
            self._measure(source)
            return Pass()
        later = _accept(group, key)
        if group.letters:
            source.reject(group.letters)
            group.letters = []
        finished = group.take_finished()
        if finished:
            self._finish(source, group, finished)
        if later is not None:
            waiting = "1 record waits" if len(group.waiting) == 1 else f"{len(group.waiting):,} records wait"
            self._state.note_failure(f"{later.reason} {waiting}, and those behind.")
            return Pass(records=len(finished), wait=min(later.seconds, AT_MOST))
        self._group = None
        self._state.note_working()
        self._measure(source)
        return Pass(records=len(finished))

    def _finish(self, source: Source, group: _Group, finished: Sequence[StreamRecord]) -> None:
        source.acknowledge(finished)
        self._state.note_finished(
            consumed=len(finished), accepted=group.accepted, rejected=group.rejected, rejection=group.rejection
        )
        group.accepted = group.rejected = 0

    def _find_key(self) -> ApiKey | None:
        """Return the key as which emails are accepted; None, and a note of the reason, if it is not usable."""
        prefix = self._config.key_prefix
        key = api_keys.find_by_prefix(prefix)
        if key is None:
            problem = f"There is no API key with the prefix {prefix}. Set `key` of the stream to one that exists."
        elif not key.is_usable(database_clock.now()):
            why = "is revoked" if key.revoked_at else "has expired"
            problem = f"The API key {key.name} ({prefix}) {why}. Set `key` of the stream to another one."
        elif Scope.MAILS_SEND not in key.scopes:
            problem = f"The API key {key.name} ({prefix}) has no scope {Scope.MAILS_SEND}. Add it, or use another key."
        else:
            return key
        self._state.note_failure(f"{problem} Nothing is read until then, and nothing is lost.", about_key=True)
        return None

    def _measure(self, source: Source) -> None:
        if time.monotonic() - self._measured_at >= LAG_EVERY:
            self._measured_at = time.monotonic()
            try:
                lag = source.measure_lag()
            except SourceUnavailable as error:  # if the stream is away, the next read says so
                log.info("lag_not_measured", stream=self._config.name, error=str(error))
                lag = None
            self._state.note_look(lag)


def _accept(group: _Group, key: ApiKey) -> Later | None:
    """Accept what waits of a group, as many at once as the key's rate allows; return why the rest has to wait, if it has to."""
    most = acceptance.count_at_once(key) or len(group.waiting)
    while group.waiting:
        part, rest = group.waiting[:most], group.waiting[most:]
        later: Later | None = None
        left: list[StreamRecord] = []
        for record, outcome in zip(part, acceptance.accept_records(part, key), strict=True):
            match outcome:
                case Accepted(is_new=is_new):
                    group.accepted += is_new
                case Rejection():
                    log.warning("record_rejected", position=record.position, code=outcome.code)
                    group.letters.append(DeadLetter(record=record, rejection=outcome))
                    group.rejected += 1
                    group.rejection = outcome.detail
                case Later():
                    later = later or outcome
                    left.append(record)
        group.waiting = left + rest
        if later is not None:
            return later
    return None
