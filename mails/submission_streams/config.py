"""Streams of submissions from the environment: one URL each, `SUBMISSION_STREAM_<NAME>=<scheme>://…?key=PREFIX`.

The checks of the settings read them before there are models, so the sources are imported by what opens them.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import TYPE_CHECKING
from urllib.parse import SplitResult

from django.conf import settings

from mails.events import stream_urls
from mails.events.stream_urls import Options
from mercury.lib.value import value

if TYPE_CHECKING:
    from mails.submission_streams.sources.base import Source

    Parsed = tuple[
        str, Callable[[str, str], Source]
    ]  # the target; what connects, for a stream and a process of these names

PREFIX = "SUBMISSION_STREAM_"
STREAM = "mercury:submissions"  # in Redis
GROUP = "mercury"
REJECTED = ".rejected"  # is appended to the name of the stream
WRITE = (
    "Write redis:?key=PREFIX, redis://HOST:6379/0?key=PREFIX, kafka://HOST:9092/TOPIC?key=PREFIX or "
    "kinesis://STREAM?region=eu-central-1&key=PREFIX."
)


@value
class StreamConfig:
    """One stream. `open`: connects to it, for a process of this name. `target`: what it is, without secrets."""

    name: str
    target: str
    key_prefix: str
    open: Callable[[str], Source]


def load_streams() -> Mapping[str, StreamConfig]:
    """Return the streams that the environment of this process names. Raises ImproperlyConfigured."""
    environ = settings.MERCURY_ENVIRONMENT
    return _parse_all(tuple((name, environ[name]) for name in sorted(environ) if name.startswith(PREFIX)))


@lru_cache(maxsize=4)
def _parse_all(variables: tuple[tuple[str, str], ...]) -> Mapping[str, StreamConfig]:
    found: dict[str, StreamConfig] = {}
    for variable, url in variables:
        if url.strip():
            config = parse_stream(variable, url.strip())
            found[config.name] = config
    return found


def parse_stream(variable: str, url: str) -> StreamConfig:
    """Return the stream that a variable describes. Raises ImproperlyConfigured, without the URL: it may contain a secret."""
    name, (target, key, connect) = stream_urls.parse(variable, url, prefix=PREFIX, read=_read)
    return StreamConfig(name=name, target=target, key_prefix=key, open=partial(connect, name))


def _read(parts: SplitResult, options: Options) -> tuple[str, str, Callable[[str, str], Source]]:
    parse = _KINDS.get(parts.scheme)
    if parse is None:
        raise ValueError(f"it is not the URL of a stream. {WRITE}")
    key = options.pop("key", "")
    if not re.fullmatch(r"[A-Za-z0-9]{1,16}", key):
        raise ValueError(
            "its `key` is not the prefix of an API key. Write key=PREFIX, as `manage.py apikey list` shows it, "
            "never the key itself."
        )
    target, connect = parse(parts, options)
    return target, key, connect


def _parse_redis(parts: SplitResult, options: Options) -> Parsed:
    stream = options.pop("stream", STREAM)
    rejected, group = _read_names(stream, options), options.pop("group", GROUP)
    url = stream_urls.read_redis(parts)

    def connect(name: str, process: str) -> Source:
        return _load("redis_streams", "RedisSource")(
            url, stream=stream, rejected=rejected, group=group, consumer=process
        )

    return f"stream {stream}", connect


def _parse_kafka(parts: SplitResult, options: Options) -> Parsed:
    address = stream_urls.read_kafka(parts, options)
    rejected, group = _read_names(address.topic, options), options.pop("group", GROUP)

    def connect(name: str, process: str) -> Source:
        return _load("kafka", "KafkaSource")(address.topic, address.client, rejected=rejected, group=group)

    return f"topic {address.topic}", connect


def _parse_kinesis(parts: SplitResult, options: Options) -> Parsed:
    address = stream_urls.read_kinesis(parts, options)
    rejected = _read_names(address.stream, options)

    def connect(name: str, process: str) -> Source:
        return _load("kinesis", "KinesisSource")(address, rejected=rejected, name=name, process=process)

    return f"stream {address.stream}", connect


_KINDS: Mapping[str, Callable[[SplitResult, Options], Parsed]] = {
    "redis": _parse_redis,
    "rediss": _parse_redis,
    "kafka": _parse_kafka,
    "kinesis": _parse_kinesis,
}


def _read_names(stream: str, options: Options) -> str:
    """Return the name of the stream of dead letters. Raises ValueError."""
    rejected = options.pop("rejected", f"{stream}{REJECTED}")
    if not rejected or rejected == stream:
        raise ValueError("its `rejected` must be another stream: the records that are not accepted go there.")
    return rejected


def _load(module: str, name: str) -> Callable[..., Source]:
    found: Callable[..., Source] = getattr(importlib.import_module(f"mails.submission_streams.sources.{module}"), name)
    return found
