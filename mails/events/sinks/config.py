"""Sinks from the environment: one URL each, `EVENT_SINK_<NAME>=<scheme>://…`.

The libraries of Kafka and Kinesis are optional parts: they are imported by the sink that needs them.
"""

import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from mails.events.sinks.base import Sink
from mails.events.sinks.file import FileSink
from mails.events.sinks.redis_streams import RedisStreamSink
from mercury.lib.variables import parse_integer_between, parse_switch

PREFIX = "EVENT_SINK_"
STREAM = "mercury:events"  # in Redis
MOST_ENTRIES = "1000000"  # of a Redis stream
WRITE = (
    "Write redis:, redis://HOST:6379/0, kafka://HOST:9092/TOPIC, kinesis://STREAM?region=eu-central-1 or file:///PATH."
)
_SECURITY = {"plaintext": "PLAINTEXT", "ssl": "SSL", "sasl_plaintext": "SASL_PLAINTEXT", "sasl_ssl": "SASL_SSL"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """One sink. `open`: connects to it. `target`: where it publishes, without secrets."""

    name: str
    kind: str
    target: str
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
    name = variable.removeprefix(PREFIX).lower().replace("_", "-")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > 64:
        raise ImproperlyConfigured(f"{variable}: use letters, digits and single underscores, as in {PREFIX}KAFKA.")
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        addresses = parse_switch(options.pop("addresses", "false"))
        parse = _KINDS.get(parts.scheme)
        if parse is None:
            raise ValueError(f"it is not the URL of a sink. {WRITE}")
        target, connect = parse(parts, options)
        if options:
            raise ValueError(f"it has an unknown option: {', '.join(sorted(options))}.")
    except ValueError as error:
        raise ImproperlyConfigured(f"{variable}: {error}") from None
    return SinkConfig(name=name, kind=parts.scheme, target=target, addresses=addresses, open=connect)


Parsed = tuple[str, Callable[[], Sink]]


def _parse_redis(parts: SplitResult, options: dict[str, str]) -> Parsed:
    stream = options.pop("stream", STREAM)
    most = parse_integer_between(1000, 999_999_999)(options.pop("maxlen", MOST_ENTRIES))
    url = f"redis://{parts.netloc}{parts.path}" if parts.netloc else settings.REDIS_URL
    if parts.scheme == "rediss":
        url = f"rediss://{parts.netloc}{parts.path}"
    if not url:
        raise ValueError("it names no host, and there is no REDIS_URL. Write redis://HOST:6379/0.")
    return f"stream {stream}", partial(RedisStreamSink, url, stream=stream, most=most)


def _parse_kafka(parts: SplitResult, options: dict[str, str]) -> Parsed:
    _require("Kafka", "confluent_kafka", "kafka")
    login, _, hosts = parts.netloc.rpartition("@")
    topic = unquote(parts.path.strip("/"))
    if not hosts or not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
        raise ValueError("it names no broker or no topic. Write kafka://HOST:9092,HOST:9092/TOPIC.")
    user, _, password = login.partition(":")
    default = "sasl_ssl" if login else "plaintext"
    security = options.pop("security", default)
    if security not in _SECURITY:
        raise ValueError(f"its security is none of {', '.join(_SECURITY)}.")
    client: dict[str, Any] = {"bootstrap.servers": hosts, "security.protocol": _SECURITY[security]}
    if login:
        mechanism = options.pop("mechanism", "PLAIN").upper()
        client |= {
            "sasl.mechanism": mechanism,
            "sasl.username": unquote(user),
            "sasl.password": unquote(password),
        }
    if "ca" in options:
        client["ssl.ca.location"] = options.pop("ca")
    return f"topic {topic}", lambda: _load("kafka", "KafkaSink")(topic, client)


def _parse_kinesis(parts: SplitResult, options: dict[str, str]) -> Parsed:
    _require("Kinesis", "boto3", "kinesis")
    stream, region, endpoint = unquote(parts.netloc), options.pop("region", ""), options.pop("endpoint", "")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", stream) or parts.path.strip("/"):
        raise ValueError("it names no stream. Write kinesis://STREAM?region=eu-central-1.")
    return f"stream {stream}", lambda: _load("kinesis", "KinesisSink")(stream, region=region, endpoint=endpoint)


def _parse_file(parts: SplitResult, options: dict[str, str]) -> Parsed:
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute():
        raise ValueError("it names no file. Write file:///PATH/events.jsonl.")
    return str(path), partial(FileSink, path)


_KINDS: Mapping[str, Callable[[SplitResult, dict[str, str]], Parsed]] = {
    "redis": _parse_redis,
    "rediss": _parse_redis,
    "kafka": _parse_kafka,
    "kinesis": _parse_kinesis,
    "file": _parse_file,
}


def _require(service: str, module: str, extra: str) -> None:
    """Raise ValueError if the package that the service needs is missing."""
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"{service} needs one more package. Install it: pip install -r requirements-{extra}.txt")


def _load(module: str, name: str) -> Callable[..., Sink]:
    sink: Callable[..., Sink] = getattr(importlib.import_module(f"mails.events.sinks.{module}"), name)
    return sink
