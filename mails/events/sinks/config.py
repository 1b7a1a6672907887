"""Sinks from the environment: one URL each, `EVENT_SINK_<NAME>=<scheme>://…`.

The libraries of Kafka and Kinesis are optional parts: they are imported by the sink that needs them.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import SplitResult, unquote

from django.conf import settings

from mails.events import stream_urls
from mails.events.sinks.base import Sink
from mails.events.sinks.file import FileSink
from mails.events.sinks.redis_streams import RedisStreamSink
from mails.events.stream_urls import Options
from mercury.lib.variables import parse_integer_between, parse_switch

PREFIX = "EVENT_SINK_"
STREAM = "mercury:events"  # in Redis
MOST_ENTRIES = "1000000"  # of a Redis stream
WRITE = (
    "Write redis:, redis://HOST:6379/0, kafka://HOST:9092/TOPIC, kinesis://STREAM?region=eu-central-1 or file:///PATH."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """One sink. `open`: connects to it. `target`: where it publishes, in words; `address`: what a consumer needs to know.

    Neither contains a login.
    """

    name: str
    kind: str
    target: str
    address: Mapping[str, str]
    addresses: bool  # whether events name addresses, not only their domains
    open: Callable[[], Sink]


def load_sinks() -> Mapping[str, SinkConfig]:
    """Return the sinks that the environment of this process names. Raises ImproperlyConfigured."""
    environ = settings.MERCURY_ENVIRONMENT
    return _parse_all(tuple((name, environ[name]) for name in sorted(environ) if name.startswith(PREFIX)))


@lru_cache(maxsize=4)
def _parse_all(variables: tuple[tuple[str, str], ...]) -> Mapping[str, SinkConfig]:
    found: dict[str, SinkConfig] = {}
    for variable, url in variables:
        if url.strip():
            config = parse_sink(variable, url.strip())
            found[config.name] = config
    return found


def parse_sink(variable: str, url: str) -> SinkConfig:
    """Return the sink that a variable describes. Raises ImproperlyConfigured, without the URL: it may contain a secret."""
    name, (kind, addresses, (target, address, connect)) = stream_urls.parse(variable, url, prefix=PREFIX, read=_read)
    return SinkConfig(name=name, kind=kind, target=target, address=address, addresses=addresses, open=connect)


Parsed = tuple[str, Mapping[str, str], Callable[[], Sink]]


def _read(parts: SplitResult, options: Options) -> tuple[str, bool, Parsed]:
    addresses = parse_switch(options.pop("addresses", "false"))
    parse = _KINDS.get(parts.scheme)
    if parse is None:
        raise ValueError(f"it is not the URL of a sink. {WRITE}")
    return parts.scheme, addresses, parse(parts, options)


def _parse_redis(parts: SplitResult, options: Options) -> Parsed:
    stream = options.pop("stream", STREAM)
    most = parse_integer_between(1000, 999_999_999)(options.pop("maxlen", MOST_ENTRIES))
    url = stream_urls.read_redis(parts)
    address = {"url": stream_urls.drop_login(url), "stream": stream, "login": "needed" if "@" in url else ""}
    return f"stream {stream}", address, partial(RedisStreamSink, url, stream=stream, most=most)


def _parse_kafka(parts: SplitResult, options: Options) -> Parsed:
    found = stream_urls.read_kafka(parts, options)
    shown = {"servers": "bootstrap.servers", "security": "security.protocol", "mechanism": "sasl.mechanism"}
    address = {"topic": found.topic, **{name: found.client.get(key, "") for name, key in shown.items()}}
    return f"topic {found.topic}", address, lambda: _load("kafka", "KafkaSink")(found.topic, found.client)


def _parse_kinesis(parts: SplitResult, options: Options) -> Parsed:
    found = stream_urls.read_kinesis(parts, options)
    endpoint = stream_urls.drop_login(found.endpoint)
    address = {"stream": found.stream, "region": found.region, "endpoint": endpoint}
    return f"stream {found.stream}", address, lambda: _load("kinesis", "KinesisSink")(found)


def _parse_file(parts: SplitResult, options: Options) -> Parsed:
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute():
        raise ValueError("it names no file. Write file:///PATH/events.jsonl.")
    return str(path), {"path": str(path)}, partial(FileSink, path)


_KINDS: Mapping[str, Callable[[SplitResult, Options], Parsed]] = {
    "redis": _parse_redis,
    "rediss": _parse_redis,
    "kafka": _parse_kafka,
    "kinesis": _parse_kinesis,
    "file": _parse_file,
}


def _load(module: str, name: str) -> Callable[..., Sink]:
    sink: Callable[..., Sink] = getattr(importlib.import_module(f"mails.events.sinks.{module}"), name)
    return sink
