"""A provider's reply in words: its status, its reason code, and how long it took."""

import http

from mails.timeline.event_payload import EventPayload
from mercury.lib import durations


def describe_reply(payload: EventPayload) -> str:
    """Return the provider's reply: `503 Service Unavailable`, `550`, or the reason's code."""
    code, reason_code = payload.get_number("status_code"), payload.get_text("reason_code")
    if code is None:
        return reason_code.replace("-", " ").capitalize() or "No reply"
    if reason_code.startswith("smtp"):
        return f"{code:.0f}"
    return describe_reason(reason_code) if reason_code.startswith("http") else describe_http_status(int(code))


def describe_reason(code: str) -> str:
    """Return a reason code for people: `400 Bad Request` for `http-400`, `550` for `smtp-550`, any other as it is.

    Some providers refuse with a 200: `200 with an error` for `http-200`.
    """
    kind, _, number = code.partition("-")
    if not number.isdigit() or len(number) > 3:
        return code
    if kind == "http" and 200 <= int(number) < 300:
        return f"{number} with an error"
    return describe_http_status(int(number)) if kind == "http" else f"SMTP {number}" if kind == "smtp" else code


def describe_http_status(code: int) -> str:
    """Return an HTTP status with its phrase, where it has one."""
    try:
        return f"{code} {http.HTTPStatus(code).phrase}"
    except ValueError:
        return f"{code}"


def describe_latency(payload: EventPayload) -> list[str]:
    """Return ` after 812 ms` as the part of a sentence; nothing where no latency was recorded."""
    latency = payload.get_number("latency_ms")
    return [] if latency is None else [f" after {durations.format_duration(latency / 1000)}"]
