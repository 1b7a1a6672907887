"""The page that sends a copy of an email: it first says what it will send, and to whom."""

import uuid
from typing import cast

from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from mails.admin import actions
from mails.intake import copies
from mails.intake.accept import accept
from mails.intake.client import Client, is_sender_allowed
from mails.intake.receipts import NotStored, Receipt, Refused, Stored
from mails.message import mime
from mails.message.addresses import extract_address
from mails.models import DownloadLink, Mail, MailFile
from mails.states import Source
from mercury.lib.mail.printable import replace_unprintable

MAX_TYPED = 4096  # characters of the recipients
_KEY = "idempotency_key"
_TO = {
    "name": "recipient",
    "label": "To",
    "optional": True,
    "note": "Instead of all recipients of the email, Cc and Bcc too. Separate several addresses with commas.",
    "length": MAX_TYPED,
}


def copy_view(request: HttpRequest, mail_id: uuid.UUID) -> HttpResponse:
    """Show what a copy of this email is; submit it after confirmation, and lead to its page."""
    actions.check_mail_permission(request)
    mail = get_object_or_404(Mail, pk=mail_id)
    if why := mime.explain_no_copy(mail):
        messages.warning(request, why)
        return redirect("admin:mails_mail_change", mail.pk)
    client = Client(source=Source.FORM, user=cast(User, request.user))
    typed, errors = request.POST.get("recipient", "").strip()[:MAX_TYPED], list[str]()
    if request.method == "POST":
        receipt = _submit(request, mail, client, typed)
        if isinstance(receipt, Stored):
            messages.success(request, "The copy is stored and is sent now. This is its page.")
            return redirect("admin:mails_mail_change", receipt.mail.pk)
        errors = _list_errors(receipt)
    return _render(request, mail, client, typed, errors)


def _submit(request: HttpRequest, mail: Mail, client: Client, typed: str) -> Receipt | str:
    """Submit the copy; return its receipt, or why the email cannot be copied."""
    try:
        copy = copies.build_copy(
            mail,
            recipients={"recipient": typed} if typed else None,
            by=actions.name_actor(request),
            key=request.POST.get(_KEY),
        )
    except copies.NotCopyable as refused:
        return str(refused)
    (receipt,) = accept([copy], client=client)
    return receipt


def _list_errors(receipt: Receipt | str) -> list[str]:
    match receipt:
        case NotStored(error=error):
            raise error
        case Refused(errors=errors, detail=detail):
            return [error.detail for error in errors] or [detail]
    return [str(receipt)]


def _render(request: HttpRequest, mail: Mail, client: Client, typed: str, errors: list[str]) -> HttpResponse:
    subject, may_send = (
        replace_unprintable(mail.subject or "(no subject)"),
        is_sender_allowed(extract_address(mail.sender), client.list_allowed_senders()),
    )
    page = reverse("admin:mails_mail_change", args=[mail.pk])
    context = {
        **admin.site.each_context(request),
        "title": "Send a copy?",
        "trail": [("Emails", reverse("admin:mails_mail_changelist")), (subject, page)],
        "sentences": _describe(mail, subject, may_send=may_send),
        "button": "Send the copy" if may_send else "",
        "fields": [_TO | {"value": replace_unprintable(typed)}] if may_send else [],
        "hidden": [(_KEY, str(uuid.uuid4()))],
        "errors": [replace_unprintable(error) for error in errors],
        "back": page,
    }
    return TemplateResponse(request, "admin/confirm.html", context, status=400 if errors else 200)


def _describe(mail: Mail, subject: str, *, may_send: bool) -> list[str]:
    sender = replace_unprintable(mail.sender)
    if not may_send:
        return [
            f"You may not send as {sender}, so you cannot send this email as it is.",
            "Open the form with a copy of it, and choose another sender there: Send a copy on the email's own page.",
        ]
    files, links = MailFile.objects.filter(mail=mail).count(), DownloadLink.objects.filter(mail=mail).count()
    sentences = [
        f"“{subject}” from {sender} is submitted again as a new email, with its own id, Message-ID and timeline.",
        f"It goes to all recipients of the email ({mail.recipients.count()}) once more, or only to those that you name.",
    ]
    if files or links:
        sentences.append(f"Its files come with it ({files} attached, {links} as new download links).")
    return sentences
