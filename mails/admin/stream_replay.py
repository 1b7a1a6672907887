"""Replay of an event stream: from which moment or event, how many events that is, and then it."""

import datetime as dt
from typing import Any

from django import forms
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from mails.admin.streams import CHANGE, VIEW, check, render
from mails.events import outbox, steering
from mails.models import Event, EventSink
from mercury.lib.audit import log as audit
from mercury.lib.database import database_clock

CONFIRMED = "confirmed"
_LAST_ID = 2**63 - 1


class ReplayForm(forms.Form):
    """Where the replay begins: at a moment in UTC, or at an event."""

    since = forms.DateTimeField(
        required=False,
        label="Events from",
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs={"type": "datetime-local"}),
        help_text="UTC.",
    )
    event = forms.IntegerField(
        required=False,
        min_value=1,
        max_value=_LAST_ID,
        label="Or from the event",
        help_text="The id of an event, as consumers have it; it is the first one that is published again.",
    )

    def __init__(self, data: Any = None) -> None:
        super().__init__(data)
        self.label_suffix = ""

    def clean(self) -> dict[str, Any]:
        """Refuse both, and neither."""
        given = [name for name in ("since", "event") if self.cleaned_data.get(name) is not None]
        if len(given) != 1 and not self.errors:
            self.add_error("since", "Give a moment or an event, and not both.")
        return self.cleaned_data

    def find_position(self) -> int:
        """Return the id of the event after which the replay begins."""
        since: dt.datetime | None = self.cleaned_data["since"]
        return int(self.cleaned_data["event"]) - 1 if since is None else outbox.find_position(since)


@require_http_methods(["GET", "POST"])
def replay_page(request: HttpRequest, name: str) -> HttpResponse:
    """Publish events once more: ask from where, say how many events that is, and do it after confirmation."""
    check(request, VIEW, CHANGE)
    sink = EventSink.objects.filter(name=name).first()
    if sink is None:
        raise Http404("There is nothing to publish again.")
    form = ReplayForm(request.POST if request.method == "POST" else None)
    if request.method == "POST" and form.is_valid():
        after = form.find_position()
        if CONFIRMED not in request.POST:
            return _confirm(request, sink, after)
        if steering.replay(name, after=after, by=audit.get_person(request)):
            messages.success(request, f"The stream {name} gets the events from event {after + 1} on once more.")
        else:
            messages.info(request, f"Nothing to do: {name} does not have these events yet.")
        return redirect("stream", name)
    context = {
        "title": f"Replay the stream {name}",
        "name": name,
        "form": form,
        "errors": [(form[field].id_for_label, error) for field, listed in form.errors.items() for error in listed],
    }
    return render(request, "admin/streams/replay.html", context, status=400 if form.errors else 200)


def _confirm(request: HttpRequest, sink: EventSink, after: int) -> HttpResponse:
    count, page = outbox.count(after, sink.position), reverse("stream-replay", args=[sink.name])
    first = Event.objects.filter(pk__gt=after, pk__lte=sink.position).order_by("pk").first()
    if first is None:
        messages.info(request, f"The stream {sink.name} has no event from then on: there is nothing to publish again.")
        return redirect(page)
    at = database_clock.from_ns(first.created_at)
    sentences = [
        f"{sink.name} gets {count} once more, from event {first.pk} of {at:%Y-%m-%d %H:%M:%S} UTC on.",
        "They keep their order and their ids, so that consumers recognize those they have.",
        "New events are published after them. Email and other streams are not affected.",
    ]
    if sink.paused_at is not None:
        sentences.append("The stream is paused: nothing is published until somebody resumes it.")
    context = {
        "title": f"Publish {count} again?",
        "trail": [("Streams", reverse("streams")), (sink.name, reverse("stream", args=[sink.name]))],
        "sentences": sentences,
        "button": f"Publish {count} again",
        "back": page,
        "hidden": [("event", first.pk), (CONFIRMED, "yes")],
    }
    return render(request, "admin/confirm.html", context)
