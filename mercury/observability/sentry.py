"""Reports exceptions to Sentry, if SENTRY_DSN is set: what broke and where, and nothing of anybody's mail.

What an exception says may quote an email, so it stays in this process's log. An event is built from the names below;
whatever else the SDK gathers, now or in a later version, is not sent. `settings` says where to; `apps` starts it.
"""

import logging
import sys
from collections.abc import Mapping
from typing import Any

import sentry_sdk
import structlog
from sentry_sdk.integrations.atexit import AtexitIntegration
from sentry_sdk.integrations.dedupe import DedupeIntegration
from sentry_sdk.integrations.excepthook import ExcepthookIntegration
from sentry_sdk.types import Event, Hint

LEFT_OUT = "[left out: see the log]"
TAGS = ("account", "event", "queue", "mail", "request_id", "task")  # fields of our logs
_OF_EVENT = ("event_id", "timestamp", "level", "platform", "release", "environment", "server_name", "sdk", "tags")
_OF_FRAME = (
    "filename", "abs_path", "module", "function", "lineno", "in_app", "pre_context", "context_line", "post_context",
)  # fmt: skip


def start(dsn: str) -> None:
    """Report exceptions from now on: those that end the process, and those that are logged as errors.

    Sends from a thread of its own; a Sentry that is away costs nothing but its events, and at the end two seconds.
    """
    sentry_sdk.init(
        dsn=dsn,
        default_integrations=False,  # they gather requests, arguments and statements
        auto_enabling_integrations=False,
        integrations=[ExcepthookIntegration(), AtexitIntegration(callback=_say_nothing), DedupeIntegration()],
        before_send=strip_event,
        ignore_errors=[KeyboardInterrupt],
        include_local_variables=False,
        max_request_body_size="never",
        max_breadcrumbs=0,
        auto_session_tracking=False,
    )
    logging.getLogger().addHandler(SentryHandler(level=logging.ERROR))


class SentryHandler(logging.Handler):
    """Reports logged exceptions: those of requests, and those of the dispatcher."""

    def emit(self, record: logging.LogRecord) -> None:
        """Report the record's exception, with the fields that say where it belongs; ignore a record without one."""
        fields = record.msg if isinstance(record.msg, dict) else {}
        found = record.exc_info or fields.get("exc_info")
        if found is True:
            found = sys.exc_info()
        if found and found != (None, None, None):
            known = structlog.contextvars.get_contextvars() | fields
            with sentry_sdk.new_scope() as scope:
                scope.set_tags({name: str(known[name]) for name in TAGS if name in known})
                scope.capture_exception(found)


def strip_event(event: Event, _hint: Hint) -> Event:
    """Keep only the fields of the event that are safe to share. Pure."""
    exceptions = event.get("exception", {}).get("values", [])
    return _keep(_OF_EVENT, event) | {
        "exception": {"values": [_strip_exception(exception) for exception in exceptions]}
    }  # type: ignore[return-value]


def _strip_exception(found: Mapping[str, Any]) -> dict[str, Any]:
    frames = (found.get("stacktrace") or {}).get("frames", [])
    return _keep(("type", "module"), found) | {
        "value": LEFT_OUT,
        "stacktrace": {"frames": [_keep(_OF_FRAME, frame) for frame in frames]},
    }


def _keep(names: tuple[str, ...], found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found[name] for name in names if name in found}


def _say_nothing(_pending: int, _timeout: float) -> None:
    """Say nothing while the last events are sent: a command's output is its own."""
