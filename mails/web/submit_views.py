"""The form that submits an email, and its live preview."""

import uuid
from dataclasses import replace
from typing import Any, assert_never, cast

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from mails.access import rate_limits
from mails.files import storage
from mails.files.uploads import Owner
from mails.intake import copies
from mails.intake.accept import accept
from mails.intake.attachment_fields import FileDelivery
from mails.intake.client import Client
from mails.intake.receipts import NotStored, Refused, Stored
from mails.message import mime
from mails.models import Mail, StoredFile
from mails.states import RecipientKind, Source
from mails.web import attachment_rows
from mails.web.attachment_rows import AttachmentRow
from mails.web.forms import SubmitForm
from mails.web.visible import get_visible
from mercury.lib.mail import html_cleaning, pictures, preview
from mercury.lib.mail.preview import File, MailPreview
from providers.accounts import registry
from providers.kinds.catalog import delivers

_DELIVERIES = (
    ("", "as its size requires"),
    (FileDelivery.ATTACHMENT.value, "attachment"),
    (FileDelivery.LINK.value, "download link"),
)
_TOO_MANY = "The preview pauses, because it was updated very often. It goes on in a moment."


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def submit(request: HttpRequest) -> HttpResponse:
    """Show the form, empty or filled from the email that `copy` names, and submit it as a new email.

    An accepted email leads to its live page; errors are named, and what was typed and uploaded is kept.
    """
    client = Client(source=Source.FORM, user=cast(User, request.user))
    senders = client.list_allowed_senders()
    if request.method != "POST":
        copied = _find_copied(request)
        draft, rows = (_make_draft(copied), attachment_rows.list_rows(copied)) if copied else ({}, [])
        form = SubmitForm(senders=senders, attachments=rows, initial={"idempotency_key": str(uuid.uuid4()), **draft})
        return _render_form(request, form, senders, copied=copied)
    owner, copied = _get_owner(request), _find_copied(request)
    rows = attachment_rows.read_rows(request.POST, owner=owner)
    rows += attachment_rows.read_received(request.FILES.getlist("uploads"))
    form = SubmitForm(request.POST, senders=senders, attachments=rows)
    if form.is_valid():
        attachment_rows.adopt(rows, owner=owner)
    mail = _accept(form, client, copied) if not form.error_list else None
    if mail is None:
        attachment_rows.keep_received(rows, owner=owner)
        return _render_form(request, form.with_new_key(), senders, copied=copied, status=400)
    messages.success(request, "You can close this page; bookmark it to check the status.", extra_tags="accepted")
    return redirect("mail", mail_id=mail.pk)


@never_cache
@require_POST
def draft_preview(request: HttpRequest) -> HttpResponse:
    """Return what is typed as it would be shown on the page of an email, for the frame of the form. Stores nothing."""
    if not request.user.is_authenticated:
        return html_cleaning.build_text_response("Your session has ended. Sign in again, in another tab.", status=403)
    if not rate_limits.count_preview(request.user.pk):
        answer = html_cleaning.build_text_response(_TOO_MANY, status=429)
        answer["Retry-After"] = "1"
        return answer
    html = request.POST.get("html", "")
    if not html.strip():
        return html_cleaning.build_text_response(request.POST.get("content", ""))
    rows = attachment_rows.read_rows(request.POST, owner=_get_owner(request))
    shown = MailPreview(b"", html=html, files=[_make_file(number, row) for number, row in enumerate(rows, 1)])
    return preview.build_html_response(
        shown,
        remote_images=False,
        picture_path=lambda number: rows[number - 1].picture_path,
    )


@require_safe
def draft_picture(request: HttpRequest, file_id: uuid.UUID) -> HttpResponse:
    """Return one uploaded picture, for the frame of the form."""
    pictures.check_signature(request)
    file = StoredFile.objects.select_related("content").filter(pk=file_id).first()
    if file is None or file.content is None or file.size > preview.PICTURE_SHOWN:
        raise Http404("There is no such picture, or it is too large to be shown.")
    return pictures.build_response(storage.read(file.content.location))


def _get_owner(request: HttpRequest) -> Owner:
    return Owner(user=request.user)


def _make_file(number: int, row: AttachmentRow) -> File:
    return File(number=number, name=row.filename, kind=row.content_type, size=row.size, content_id=row.content_id)


def _find_copied(request: HttpRequest) -> Mail | None:
    """Return the email to fill the form from; None, with a message, if it cannot be copied."""
    wanted = request.GET.get("copy")
    if wanted is None:
        return None
    try:
        mail = get_visible(request, uuid.UUID(wanted))
    except ValueError:
        raise Http404("No such email, or you do not have access.") from None
    if why := mime.explain_not_copyable(mail):
        messages.warning(request, why)
        return None
    return mail


def _make_draft(mail: Mail) -> dict[str, Any]:
    message = mime.read_message(mail)
    named = {kind: [to.shown for to in message.recipients if to.kind == kind] for kind in RecipientKind}
    return {
        "sender": message.sender,
        "recipient": ", ".join(named[RecipientKind.TO]),
        "cc": ", ".join(named[RecipientKind.CC]),
        "bcc": ", ".join(named[RecipientKind.BCC]),
        "reply_to": ", ".join(mailbox.shown for mailbox in message.reply_to),
        **{name: getattr(message, name) for name in ("tags", "metadata", "headers")},
        "unsubscribe_url": message.unsubscribe_url,
        "unsubscribe_mailto": message.unsubscribe_mailto,
        "subject": message.subject,
        "content": message.text,
        "html": message.html,
    }


def _accept(form: SubmitForm, client: Client, copied: Mail | None) -> Mail | None:
    """Submit the email; return None if it was refused, and the form shows why."""
    submission = form.build_submission()
    if copied is not None:
        by = f"user:{client.name}"[:128]
        submission = replace(submission, copy_of=copies.make_source(copied, by=by))
    (receipt,) = accept([submission], client=client)
    match receipt:
        case Stored(mail=mail):
            return mail
        case Refused():
            form.show_refusal(receipt)
            return None
        case NotStored(error=error):
            raise error
        case never:
            assert_never(never)


def _render_form(
    request: HttpRequest, form: SubmitForm, senders: list[str], *, copied: Mail | None = None, status: int = 200
) -> HttpResponse:
    context = {
        "form": form,
        "copied": copied,
        "may_send": bool(senders),
        "limits": {
            "each": settings.MERCURY_MAX_ATTACHMENT_SIZE,
            "together": settings.MERCURY_MAX_ATTACHMENTS_SIZE,
            "file": settings.MERCURY_MAX_FILE_SIZE,
        },
        "deliveries": _DELIVERIES if settings.MERCURY_BASE_URL else (),  # links need it
        "sandbox_only": _is_sandbox_only(),
        "api_url": request.build_absolute_uri(reverse("api-mail-list")),
        "section": "submit",
    }
    return render(request, "mails/submit.html", context, status=status)


def _is_sandbox_only() -> bool:
    usable = [account for account in registry.load_candidates() if account.enabled and account.configured]
    return not any(delivers(account.config.kind) for account in usable)
