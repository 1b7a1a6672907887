"""The URLs of streams in the environment, for sinks and for streams of submissions: name, address and options."""

import importlib.util
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from mercury.lib.value import value

Options = dict[str, str]  # of a query; whoever reads one removes it
Parsed = TypeVar("Parsed")
_SECURITY = {"plaintext": "PLAINTEXT", "ssl": "SSL", "sasl_plaintext": "SASL_PLAINTEXT", "sasl_ssl": "SASL_SSL"}


@value
class KafkaAddress:
    """A topic, and how librdkafka connects to its brokers."""

    topic: str
    client: dict[str, Any]


@value
class KinesisAddress:
    """A data stream. `region` and `endpoint` may be empty: then AWS's usual variables count."""

    stream: str
    region: str
    endpoint: str


def parse(
    variable: str, url: str, *, prefix: str, read: Callable[[SplitResult, Options], Parsed]
) -> tuple[str, Parsed]:
    """Return the name of a stream, and what `read` makes of its URL; `read` removes the options that it knows.

    Raises ImproperlyConfigured, without the URL: it may contain a secret.
    """
    name = variable.removeprefix(prefix).lower().replace("_", "-")
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) or len(name) > 64:
        raise ImproperlyConfigured(f"{variable}: use letters, digits and single underscores, as in {prefix}KAFKA.")
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        found = read(parts, options)
        if options:
            raise ValueError(f"it has an unknown option: {', '.join(sorted(options))}.")
    except ValueError as error:
        raise ImproperlyConfigured(f"{variable}: {error}") from None
    return name, found


def read_redis(parts: SplitResult) -> str:
    """Return the URL of the Redis: `REDIS_URL` where the stream's URL names no host. Raises ValueError."""
    url = f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else settings.REDIS_URL
    if not url:
        raise ValueError("it names no host, and there is no REDIS_URL. Write redis://HOST:6379/0.")
    return url


def drop_login(url: str) -> str:
    """Return the URL without name, password and query, to be shown."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


def read_kafka(parts: SplitResult, options: Options) -> KafkaAddress:
    """Return the topic and its brokers. Raises ValueError."""
    _require("Kafka", "confluent_kafka", "kafka")
    login, _, hosts = parts.netloc.rpartition("@")
    topic = unquote(parts.path.strip("/"))
    if not hosts or not re.fullmatch(r"[A-Za-z0-9._-]{1,249}", topic):
        raise ValueError("it names no broker or no topic. Write kafka://HOST:9092,HOST:9092/TOPIC.")
    user, _, password = login.partition(":")
    security = options.pop("security", "sasl_ssl" if login else "plaintext")
    if security not in _SECURITY:
        raise ValueError(f"its security is none of {', '.join(_SECURITY)}.")
    client: dict[str, Any] = {"bootstrap.servers": hosts, "security.protocol": _SECURITY[security]}
    if login:
        client |= {
            "sasl.mechanism": options.pop("mechanism", "PLAIN").upper(),
            "sasl.username": unquote(user),
            "sasl.password": unquote(password),
        }
    if "ca" in options:
        client["ssl.ca.location"] = options.pop("ca")
    return KafkaAddress(topic=topic, client=client)


def read_kinesis(parts: SplitResult, options: Options) -> KinesisAddress:
    """Return the data stream. Raises ValueError."""
    _require("Kinesis", "boto3", "kinesis")
    stream, region, endpoint = unquote(parts.netloc), options.pop("region", ""), options.pop("endpoint", "")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", stream) or parts.path.strip("/"):
        raise ValueError("it names no stream. Write kinesis://STREAM?region=eu-central-1.")
    return KinesisAddress(stream=stream, region=region, endpoint=endpoint)


def _require(service: str, module: str, extra: str) -> None:
    """Raise ValueError if the package that the service needs is missing."""
    if importlib.util.find_spec(module) is None:
        raise ValueError(f"{service} needs one more package. Install it: pip install -r requirements-{extra}.txt")
