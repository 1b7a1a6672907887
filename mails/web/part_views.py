"""Parts of an email: its HTML for the frame, pictures in it, files, and the whole message."""

import uuid
from typing import IO

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from mails.files import storage
from mails.message import mail_preview, mime
from mails.models import MailFile
from mails.web.visible import get_visible
from mercury.lib.mail import pictures, preview
from mercury.lib.rest import large_bodies
from mercury.lib.rest.problems import Problem
from mercury.lib.storages.errors import StorageUnavailable


@never_cache
@login_required
@require_safe
def mail_html(request: HttpRequest, mail_id: uuid.UUID) -> HttpResponse:
    """Return the cleaned HTML of an email for the frame; remote images only with `?images=on`."""
    mail = get_visible(request, mail_id)
    message = mime.read_beginning(mail, recipients=mail.recipients.order_by("id"))
    shown = mail_preview.build_preview(mail, message, files=mail_preview.list_files(mail))
    if not shown.html:
        raise Http404("This email has no HTML.")
    return preview.build_html_response(
        shown,
        remote_images=request.GET.get("images") == "on",
        picture_path=lambda number: reverse("mail-picture", args=[mail_id, number]),
    )


@never_cache
@login_required
@require_safe
def mail_source(request: HttpRequest, mail_id: uuid.UUID) -> HttpResponseBase:
    """Return the message as providers get it, as a download. Large ones one at a time: each needs a few times its size."""
    mail = get_visible(request, mail_id)
    large_bodies.reserve(request, mail.size)
    try:
        source = mime.render_source(mail, mime.read_message(mail))
    except StorageUnavailable:
        raise _build_unavailable() from None
    if not source:
        raise Http404("This email was rejected before a message was built, or its body was removed.")
    return preview.build_source_response(source, str(mail_id))


@never_cache
@login_required
@require_safe
def mail_file(request: HttpRequest, mail_id: uuid.UUID, number: int) -> HttpResponseBase:
    """Return one file of an email as a download."""
    get_visible(request, mail_id)
    file = _find_file(mail_id, number)
    return preview.build_file_response(_open(file), file.filename)


@require_safe
def mail_picture(request: HttpRequest, mail_id: uuid.UUID, number: int) -> HttpResponse:
    """Return one picture of an email, for the frame that shows its HTML."""
    pictures.check_signature(request)
    file = _find_file(mail_id, number)
    if file.size > preview.PICTURE_SHOWN:
        raise Http404("This picture is too large to be shown.")
    large_bodies.reserve(request, file.size)
    with _open(file) as content:
        return pictures.build_response(content.read())


def _find_file(mail_id: uuid.UUID, number: int) -> MailFile:
    file = MailFile.objects.filter(mail=mail_id, number=number).select_related("content").first()
    if file is None:
        raise Http404("This email has no such file.")
    return file


def _open(file: MailFile) -> IO[bytes]:
    """Open the content of a file. Raises Problem: 410 if retention has deleted it, 503 if the storage does not answer."""
    if file.content is None:
        raise Problem(410, "gone", "Retention has deleted this file.")
    try:
        content: IO[bytes] = storage.open_content(file.content.location)
    except StorageUnavailable:
        raise _build_unavailable() from None
    return content


def _build_unavailable() -> Problem:
    detail = "A file cannot be read from the storage of files. Try again in a moment."
    return Problem(503, "store_unavailable", detail, headers={"Retry-After": "5"})
