"""A stream in memory, its records and its key."""

import json
from collections.abc import Callable, Sequence
from typing import Any

from mails.access import api_keys
from mails.models import ApiKey
from mails.submission_streams.config import StreamConfig
from mails.submission_streams.reader import StreamReader
from mails.submission_streams.records import DeadLetter, StreamRecord
from mails.submission_streams.sources.base import Lag, SourceUnavailable

EMAIL = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "content": "Hi"}


def an_email(subject: str = "Hi", **fields: object) -> dict[str, object]:
    return {**EMAIL, "subject": subject, **fields}


def a_key(**options: Any) -> ApiKey:
    key, _ = api_keys.create("shop", **{"scopes": ["mails:send"], "senders": ["zeus@olimpus.com"], **options})
    return key


class ListSource:
    """A stream in memory. `fails`: the steps at which it is away, or its reader dies."""

    def __init__(self, *values: object) -> None:
        self.values = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
        self.position = 0  # acknowledged
        self.letters: list[DeadLetter] = []
        self.fails: dict[str, Exception] = {}
        self.kept = self.closed = 0

    def read(self) -> Sequence[StreamRecord]:
        self._step("read")
        rest = list(enumerate(self.values))[self.position :]
        return [
            StreamRecord(value=value, position=f"list/{number}", origin={"number": number}, headers={}, handle=number)
            for number, value in rest
        ]

    def acknowledge(self, records: Sequence[StreamRecord]) -> None:
        self._step("acknowledge")
        self.position = records[-1].handle + 1

    def reject(self, letters: Sequence[DeadLetter]) -> None:
        self._step("reject")
        self.letters += letters

    def keep(self, records: Sequence[StreamRecord]) -> None:
        self._step("keep")
        self.kept += 1

    def measure_lag(self) -> Lag:
        self._step("measure_lag")
        return Lag(records=len(self.values) - self.position)

    def close(self) -> None:
        self.closed += 1

    def _step(self, name: str) -> None:
        if name in self.fails:
            raise self.fails[name]

    @property
    def codes(self) -> list[str]:
        return [letter.rejection.code for letter in self.letters]


def a_reader(source: ListSource, key: str, *, connect: Callable[[str], Any] | None = None) -> StreamReader:
    config = StreamConfig(name="list", target="list", key_prefix=key, open=connect or (lambda process: source))
    return StreamReader(config, process="a")


AWAY = SourceUnavailable("the broker is away")
