"""Logs are events with fields, ours and the libraries' alike: readable at a console, JSON for a collector.

No address, subject, body or secret at any level: fields of that kind are left out, and what looks like an address or a
key is masked everywhere, in exceptions too. Every line that is about an email carries its id as `mail`.
"""

import logging.config
import re
from collections.abc import MutableMapping
from typing import Any

import structlog

from mercury.lib.mail.printable import replace_unprintable

_PRIVATE_FIELDS = frozenset(
    {
        "address", "addresses", "api_key", "authorization", "blob", "body", "content", "from", "password", "recipient",
        "recipients", "secret", "sender", "subject", "text", "to", "token",
    }
)  # fmt: skip
# The look-behind lets a word be tried from its first character only: without it, a long word without an @ costs its square.
_ADDRESS = re.compile(
    r"(?:(?<![^\s@<>\"'(),;:\[\]])[^\s@<>\"'(),;:\[\]]+|\"(?:[^\"\\\r\n]|\\.){1,64}\")@[^\s@<>\"'(),;:\[\]]+"
)
_SECRET = re.compile(
    r"(mk_[a-z0-9]{8}_)[A-Za-z0-9_-]+|((?:Bearer|Basic) )\S+|(://[^\s:/@]*:)[^\s/@]+(?=@)"
    r"|(/files/)[A-Za-z0-9_-]{22}\.[^\s'\"<>]+",  # a download link: whoever has its path may download
    re.IGNORECASE,
)

Record = MutableMapping[str, Any]
_processors: list[
    Any
] = []  # one list for good: loggers in use keep it when logging is set up once more, as `wsgi` does


_LOGGERS = {
    "django": {"level": "NOTSET", "handlers": [], "propagate": True},
    "django.db.backends": {"level": "INFO"},  # below, it would write statements with their values
    "django.server": {"level": "NOTSET", "handlers": [], "propagate": True},
    "django.request": {"level": "ERROR"},  # a client's own fault is in its answer and in the access log
    "django.security": {"level": "CRITICAL"},  # every scanner makes them, and each comes with a traceback
    "django.security.csrf": {"level": "WARNING"},  # a line; it names what CSRF_TRUSTED_ORIGINS lacks
}


def configure_logging(config: dict[str, Any]) -> None:
    """Set up structlog and standard logging from `settings.LOGGING` (`level`, `format`: `console` or `json`)."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    as_json = config["format"] == "json"
    renderer = structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=False)
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "events": {
                    "()": structlog.stdlib.ProcessorFormatter,
                    "foreign_pre_chain": shared,
                    "processors": [
                        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                        structlog.processors.StackInfoRenderer(),
                        structlog.processors.format_exc_info,
                        mask_private_fields,
                        renderer,
                    ],
                }
            },
            "handlers": {"stderr": {"class": "mercury.lib.runtime.queued_stream.QueuedStream", "formatter": "events"}},
            "root": {"handlers": ["stderr"], "level": config["level"]},
            "loggers": _LOGGERS,
        }
    )
    _processors[:] = [
        structlog.stdlib.filter_by_level,
        *shared,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ]
    structlog.configure(
        processors=_processors,
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


def mask_private_fields(_logger: Any, _method: str, record: Record) -> Record:
    """Mask private fields, secrets and addresses in the record."""
    for name, value in list(record.items()):
        if isinstance(value, int | float | None):
            continue
        record[name] = "[removed]" if name in _PRIVATE_FIELDS else _mask_text(replace_unprintable(str(value)))
    return record


def _mask_text(text: str) -> str:
    text = _SECRET.sub(lambda match: f"{match[match.lastindex or 0]}[removed]", text)  # one group is what stays
    return _ADDRESS.sub("[address]", text)
