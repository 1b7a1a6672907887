"""Streams for operators: how far each is, what it refused, how to read it; pause and resume of event streams."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_safe

from mails.admin.stream_snippets import build_snippet
from mails.events import steering
from mails.events.sinks.config import PREFIX, SinkConfig, load_sinks
from mails.models import EventSink, RejectedRecord
from mails.reporting.sink_status import SinkStatus, list_sinks
from mails.reporting.submission_stream_status import SubmissionStreamStatus, list_submission_streams
from mails.stream_pauses import Stream, pause, resume
from mercury.lib.audit import log as audit
from mercury.lib.database import database_clock
from mercury.lib.durations import format_duration

VIEW, CHANGE = "mails.view_eventsink", "mails.change_eventsink"
REJECTED_SHOWN = 100
_BADGES = {
    "publishing": ("ok", "tick", "Publishing"),
    "paused": ("waiting", "clock", "Paused"),
    "failing": ("bad", "cross", "Failing"),
    "stopped": ("bad", "ban", "No relay"),
    "new": ("neutral", "clock", "Not used yet"),
}
_INTAKE = {
    "reading": ("ok", "tick", "Reading"),
    "paused": ("waiting", "clock", "Paused"),
    "failing": ("bad", "cross", "Failing"),
    "no key": ("bad", "ban", "No usable key"),
    "stopped": ("bad", "ban", "Not read"),
}
_HELP = {
    "publishing": "Events are published as they are recorded.",
    "paused": "Nothing is published until somebody resumes it. Its events wait.",
    "failing": "The target accepts nothing now. The relay tries again every 30 s at most; events wait.",
    "stopped": "No process publishes to it. Start a worker with the role relay, with the stream's variable set.",
    "new": "It begins with the events from the moment when a worker finds its variable.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """A stream as the page shows it. `sink`: None before its first use; `config`: None if this process has no variable."""

    name: str
    sink: SinkStatus | None
    config: SinkConfig | None

    @property
    def state(self) -> str:
        """Its state, `new` before its first use."""
        return self.sink.state if self.sink else "new"

    @property
    def badge(self) -> dict[str, str]:
        """Tone, icon and word of its state."""
        return dict(zip(("tone", "icon", "word"), _BADGES[self.state], strict=True))

    @property
    def help(self) -> str:
        """What its state means."""
        return _HELP[self.state]

    @property
    def paused_by(self) -> str:
        """Who paused it, a person by the name alone."""
        return self.sink.paused_by.removeprefix("user:") if self.sink else ""

    @property
    def variable(self) -> str:
        """The environment variable that names its target."""
        return PREFIX + self.name.upper().replace("-", "_")

    @property
    def mark(self) -> object:
        """What changes when a figure does, and not with the clock alone."""
        sink = self.sink
        return sink and (sink.state, sink.backlog, sink.published, round(sink.rate, 1), sink.rejected, sink.error)


@require_safe
def streams_page(request: HttpRequest) -> HttpResponse:
    """Show all streams."""
    check(request, VIEW)
    return render(
        request,
        "admin/streams/streams.html",
        {"title": "Streams", "embedded": settings.MERCURY_EMBEDDED, **_describe_all()},
    )


@require_safe
def streams_figures(request: HttpRequest) -> HttpResponse:
    """Return the table of streams for its poller; 204 if nothing changed."""
    check(request, VIEW)
    found = _describe_all()
    if request.GET.get("seen") == found["digest"]:
        return HttpResponse(status=204)
    return TemplateResponse(request, "admin/streams/_figures.html", found)


@require_safe
def stream_page(request: HttpRequest, name: str) -> HttpResponse:
    """Show one stream: how far it is, what it refused for good, and how to read it."""
    check(request, VIEW)
    row = _find(name)
    context = {
        "title": f"Stream {row.name}",
        "row": row,
        "snippet": build_snippet(row.config) if row.config else None,
        "rejected": RejectedRecord.objects.filter(sink_id=row.name).order_by("-event_id")[:REJECTED_SHOWN],
        "rejected_shown": REJECTED_SHOWN,
    }
    return render(request, "admin/streams/stream.html", context)


@require_http_methods(["GET", "POST"])
def switch_page(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """Pause or resume a stream, or forget what it refused: show the effect, then do it after confirmation."""
    check(request, VIEW, CHANGE)
    row = _find(name)
    if verb not in _ACTIONS or row.sink is None:
        raise Http404("There is nothing to do here.")
    if request.method == "POST":
        messages.success(request, _act(row.name, verb, by=audit.get_person(request)))
        return redirect("stream", row.name)
    title, button = _ACTIONS[verb]
    context = {
        "title": title.format(name=row.name),
        "trail": [("Streams", reverse("streams")), (row.name, reverse("stream", args=[row.name]))],
        "sentences": _describe_effect(row.sink, verb),
        "button": button,
        "back": reverse("stream", args=[row.name]),
    }
    return render(request, "admin/confirm.html", context)


_ACTIONS = {
    "pause": ("Pause the stream {name}?", "Pause the stream"),
    "resume": ("Resume the stream {name}?", "Resume the stream"),
    "forget": ("Forget what {name} refused?", "Forget the refused events"),
}


def _act(name: str, verb: str, *, by: str) -> str:
    """Do it, and return what happened in words."""
    if verb == "forget":
        return f"The list of {steering.forget_rejected(name, by=by):,} refused events of {name} is empty now."
    return switch_stream(EventSink, name, verb, by=by)


def switch_stream(stream: Stream, name: str, verb: str, *, by: str) -> str:
    """Pause or resume it, and return what happened in words."""
    if verb == "pause":
        return f"The stream {name} {'is' if pause(stream, name, by=by) else 'was already'} paused."
    return f"The stream {name} {'is resumed' if resume(stream, name, by=by) else 'was not paused'}."


def _describe_effect(sink: SinkStatus, verb: str) -> list[str]:
    waits = f"About {sink.backlog:,} events wait for it now"
    oldest = "." if sink.oldest is None else f", the oldest for {format_duration(sink.oldest)}."
    match verb:
        case "pause":
            return [
                "No event is published to it until somebody resumes it. Email and other streams are not affected.",
                "Its events wait, as long as retention keeps them, and are published in order afterwards.",
                waits + oldest,
            ]
        case "resume":
            return ["It gets the events that have waited first, in order.", waits + oldest]
        case _:
            return [
                f"{sink.rejected:,} events were refused for good and never published; the events themselves stay.",
                "The list and its alert end. Nothing is published again.",
            ]


def _describe_all() -> dict[str, Any]:
    rows, intake = _list_rows(), list_submission_streams(database_clock.now())
    marks = [
        *((row.name, row.mark) for row in rows),
        *((item.name, item.state, item.lag, item.consumed) for item in intake),
    ]
    digest = hashlib.sha256(repr(marks).encode()).hexdigest()[:16]
    described = [(stream, dict(zip(("tone", "icon", "word"), _INTAKE[stream.state], strict=True))) for stream in intake]
    return {"rows": rows, "intake": described, "summary": _summarize(rows, intake), "digest": digest}


def _list_rows() -> list[StreamRow]:
    """Return a row for each sink that is in use or named in this process's environment, by name."""
    configured = load_sinks()
    known = {sink.name: sink for sink in list_sinks(database_clock.now())}
    names = sorted({*configured, *known})
    return [StreamRow(name=name, sink=known.get(name), config=configured.get(name)) for name in names]


def _find(name: str) -> StreamRow:
    row = next((row for row in _list_rows() if row.name == name), None)
    if row is None:
        raise Http404("No such stream.")
    return row


def _summarize(rows: Sequence[StreamRow], intake: Sequence[SubmissionStreamStatus]) -> str:
    """Return the answer before the numbers."""
    unread = [stream.name for stream in intake if stream.state not in ("reading", "paused")]
    if unread:
        return f"No emails are accepted from {' and '.join(unread)} now. Their records wait in the stream."
    bad = [row.name for row in rows if row.state in ("failing", "stopped")]
    if bad:
        return f"No events reach {' and '.join(bad)} now. They wait, and no email is affected."
    named = [*((row.name, row.state) for row in rows), *((stream.name, stream.state) for stream in intake)]
    paused = [name for name, state in named if state == "paused"]
    if paused:
        return f"Paused: {', '.join(paused)}. Events and records wait."
    used = [row for row in rows if row.sink]
    if not rows and intake:
        return "Every stream is read."
    if not used:
        return "No event has been published yet." if rows else ""
    return "Every event is published as it is recorded." if len(used) == len(rows) else "The streams in use work."


def check(request: HttpRequest, *permissions: str) -> None:
    """Raise PermissionDenied unless the person has all of these."""
    if not request.user.has_perms(permissions):
        raise PermissionDenied


def render(request: HttpRequest, template: str, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    """Return a page of the admin."""
    return TemplateResponse(request, template, {**admin.site.each_context(request), **context}, status=status)
