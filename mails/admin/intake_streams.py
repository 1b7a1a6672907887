"""Pause and resume of a stream that emails are accepted from, each after confirmation."""

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods

from mails.admin.streams import VIEW, check, render, switch_stream
from mails.models import SubmissionStream
from mercury.lib.audit import log as audit

CHANGE = "mails.change_submissionstream"
_EFFECTS = {
    "pause": (
        "No email is accepted from it until somebody resumes it. Other streams and the API are not affected.",
        "Its records wait in it, as long as its broker keeps them, and are accepted in order afterwards.",
        "Every process follows within a few seconds; records that are being accepted are finished.",
    ),
    "resume": ("Its records are accepted again, those that have waited first, within a few seconds.",),
}


@require_http_methods(["GET", "POST"])
def switch_page(request: HttpRequest, name: str, verb: str) -> HttpResponse:
    """Pause or resume a stream of submissions: show the effect, then do it after confirmation."""
    check(request, VIEW, CHANGE)
    if verb not in _EFFECTS or not SubmissionStream.objects.filter(name=name).exists():
        raise Http404("There is nothing to do here.")
    if request.method == "POST":
        messages.success(request, switch_stream(SubmissionStream, name, verb, by=audit.get_person(request)))
        return redirect("streams")
    context = {
        "title": f"{verb.capitalize()} the stream {name}?",
        "trail": [("Streams", reverse("streams"))],
        "sentences": _EFFECTS[verb],
        "button": f"{verb.capitalize()} the stream",
        "back": reverse("streams"),
    }
    return render(request, "admin/confirm.html", context)
