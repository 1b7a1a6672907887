"""Emails as answers show them.

Answers are made by plain functions, with no query of their own: `to_representation` costs microseconds. A field's
declaration gives its type, its bounds and its words to the API's description and to docs/api.md.
"""

import uuid
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from django.http import HttpRequest
from django.urls import get_script_prefix, reverse
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request

from mails.api.fields import format_time, to_nanoseconds
from mails.api.serializers.links import LinkSerializer
from mails.api.stored_messages import ShownMessage
from mails.intake.idempotency import MAX_LENGTH
from mails.intake.receipts import IDEMPOTENCY_KEY
from mails.lifecycle.action_requests import ActionRequest
from mails.message.message import Mailbox, Message
from mails.models import DownloadLink, Mail, MailFile, Recipient
from mails.obstacles import Obstacles
from mails.queues import QueueName
from mails.states import Action, DeliveryGuarantee, RecipientKind, RecipientState, Status
from mails.timeline.summary import summarize

KEY_PARAMETER = OpenApiParameter(
    IDEMPOTENCY_KEY,
    {"type": "string", "minLength": 1, "maxLength": MAX_LENGTH, "pattern": "^[!-~]([ -~]*[!-~])?$"},
    OpenApiParameter.HEADER,
    description="Makes a retry safe: for 24 hours the same key and body get the first answer.",
)


class AcceptedMailSerializer(serializers.Serializer[Mail]):
    """An email as it was accepted: what never changes, so that a repeated request gets the first answer again."""

    id = serializers.UUIDField(help_text="A UUID of version 7; treat it as opaque.")
    url = serializers.URLField(help_text="The email itself.")
    events = serializers.URLField(help_text="The list of its events.")
    sender = serializers.CharField(help_text="The address it comes from.")
    recipient = serializers.CharField(help_text="The addresses it goes to, separated by commas.")
    recipients = serializers.CharField(help_text="The same text under its other name.")
    subject = serializers.CharField(help_text="The subject; may be empty.")
    content = serializers.CharField(help_text="The body, as plain text.")
    created = serializers.DateTimeField(help_text="When it was accepted.")
    created_at = serializers.IntegerField(help_text="The same in nanoseconds since the Unix epoch.")
    queue = serializers.ChoiceField(choices=QueueName.values, help_text="The queue it waits in.")
    delivery_guarantee = serializers.ChoiceField(
        choices=DeliveryGuarantee.values, help_text="What follows an attempt with an unknown outcome."
    )


class MailStateSerializer(serializers.Serializer[Mail]):
    """The state of an email, without sender, recipients and content."""

    id = serializers.UUIDField(help_text="A UUID of version 7; treat it as opaque.")
    url = serializers.URLField(help_text="The email itself.")
    status = serializers.ChoiceField(choices=Status.values, help_text="Where it is in its life.")
    provider = serializers.CharField(help_text="The account of the last attempt; empty before the first.")
    attempts = serializers.IntegerField(min_value=0, help_text="Attempts so far.")
    failure_class = serializers.CharField(
        help_text="Whose problem the last refusal is: message, account, recipient, rate, provider, local; empty if none."
    )
    reason_code = serializers.CharField(help_text="Why it has this status; stable and short, for grouping.")
    possible_duplicate = serializers.BooleanField(help_text="An outcome is unknown: it may have been sent twice.")
    pending_action = serializers.ChoiceField(
        choices=[Action.CANCEL.value, Action.HOLD.value, Action.SENT.value],
        allow_null=True,
        help_text="The action requested during the attempt in progress; it is carried out when that ends.",
    )
    send_at = serializers.DateTimeField(
        allow_null=True, help_text="The time that it is not sent before, as it was submitted or rescheduled."
    )
    next_attempt = serializers.DateTimeField(allow_null=True, help_text="When it is due.")
    expires = serializers.DateTimeField(help_text="When Mercury stops trying.")
    finished = serializers.DateTimeField(allow_null=True, help_text="When it reached its final status.")
    body_removed = serializers.DateTimeField(
        allow_null=True, help_text="When retention removed the body; `content` is empty since."
    )

    def to_representation(self, instance: Mail) -> dict[str, Any]:
        """Return the state."""
        return {
            "id": str(instance.pk),
            "url": build_mail_api_url(self.context["request"], instance.pk),
            "status": instance.status,
            "provider": instance.provider,
            "attempts": instance.attempt_count,
            "failure_class": instance.failure_class,
            "reason_code": instance.reason_code,
            "possible_duplicate": instance.possible_duplicate,
            "pending_action": ActionRequest.parse(instance.pending_action).action if instance.pending_action else None,
            "send_at": format_time(instance.send_at),
            "next_attempt": format_time(instance.next_attempt_at),
            "expires": format_time(instance.expires_at),
            "finished": format_time(instance.finished_at),
            "body_removed": format_time(instance.text_removed_at),
        }


class ObstacleSerializer(serializers.Serializer[Any]):
    """An account that cannot accept the email now."""

    account = serializers.CharField(help_text="The account's name.")
    reason = serializers.CharField(help_text="Why it cannot accept the email now; for people.")
    until = serializers.DateTimeField(allow_null=True, help_text="When it can, if only time is needed.")


class MailboxSerializer(serializers.Serializer[Any]):
    """An address with its display name."""

    email = serializers.CharField(help_text="The address.")
    name = serializers.CharField(help_text="The display name; may be empty.")


class RecipientSerializer(MailboxSerializer):
    """One recipient and its outcome."""

    kind = serializers.ChoiceField(choices=RecipientKind.values, help_text="Where the email names it.")
    state = serializers.ChoiceField(choices=RecipientState.values, help_text="The outcome.")
    reason = serializers.CharField(help_text="The provider's words if it refused, or why the address is suppressed.")


class MailFileSerializer(serializers.Serializer[MailFile]):
    """A file of an email."""

    number = serializers.IntegerField(
        help_text="Its place among the email's files, from 1; inline files are first, those with a link last."
    )
    filename = serializers.CharField(help_text="Its name.")
    content_type = serializers.CharField(help_text="Its type.")
    size = serializers.IntegerField(help_text="Bytes.")
    sha256 = serializers.CharField(allow_null=True, help_text="The SHA-256 of its content; null once that is deleted.")
    content_id = serializers.CharField(help_text="By which the HTML shows it; empty for an attachment.")
    url = serializers.URLField(
        allow_null=True, help_text="Its content, as a download; null once that is deleted, and with a link."
    )
    link = LinkSerializer(
        allow_null=True, help_text="Its download link, which the email has instead of the file; null for the others."
    )


class MailSerializer(AcceptedMailSerializer, MailStateSerializer):
    """An email and its state."""

    copy_of = serializers.UUIDField(
        allow_null=True, help_text="The id of the email that it is a copy of; null if it is none."
    )
    content = serializers.CharField(
        allow_null=True,
        help_text="The body, as plain text. Null in a list that has no room for it, see `content_omitted`.",
    )
    content_omitted = serializers.BooleanField(
        help_text="This page of a list holds one megabyte of bodies without it; the email's `url` has it whole."
    )
    html = serializers.CharField(allow_null=True, help_text="The body, as HTML; may be empty. Null like `content`.")
    to = MailboxSerializer(many=True, help_text="The recipients in To, as they were given.")
    cc = MailboxSerializer(many=True, help_text="Those in Cc.")
    bcc = MailboxSerializer(
        many=True, help_text="Those of blind copies; empty for others than the client that submitted the email."
    )
    reply_to = MailboxSerializer(many=True, help_text="Where replies go.")
    headers = serializers.DictField(child=serializers.CharField(), help_text="The headers of its own.")
    tags = serializers.ListField(child=serializers.CharField(), help_text="Its tags.")
    metadata = serializers.DictField(child=serializers.CharField(), help_text="Its metadata.")
    unsubscribe_url = serializers.CharField(help_text="The address that unsubscribes by one click; may be empty.")
    unsubscribe_mailto = serializers.CharField(help_text="The email address that unsubscribes; may be empty.")
    files = MailFileSerializer(many=True, help_text="Its files: inline, attached, and those with a download link.")
    summary = serializers.CharField(help_text="Status and reason in one sentence, for people.")
    obstacles = ObstacleSerializer(many=True, help_text="While no account can accept it: each account, and why not.")
    recipients_detail = RecipientSerializer(
        many=True, help_text="Each recipient and its outcome; blind copies as in `bcc`."
    )

    def to_representation(self, instance: Mail) -> dict[str, Any]:
        """Return the email with what the context has of it: its message as `shown`, `obstacles`, and `is_own`."""
        obstacles: Obstacles = self.context["obstacles"]
        shown: ShownMessage = self.context["shown"]
        content = None if shown.is_cut else shown.message.text
        return {
            **represent_accepted(instance, self.context["request"], content=content),
            **MailStateSerializer(context=self.context).to_representation(instance),
            "copy_of": str(instance.copy_of) if instance.copy_of else None,
            "content_omitted": shown.is_cut,
            **_represent_message(shown.message, is_cut=shown.is_cut, with_blind=self.context["is_own"]),
            "files": [
                *(_represent_file(file, self.context["request"]) for file in shown.files),
                *(_represent_linked(link, len(shown.files), self.context) for link in shown.links),
            ],
            "summary": summarize(instance, timezone.now(), obstacles),
            "obstacles": [
                {"account": obstacle.account, "reason": obstacle.reason, "until": format_time(obstacle.until)}
                for obstacle in obstacles.accounts
            ],
            "recipients_detail": [
                {
                    **_represent_mailbox(recipient),
                    "kind": recipient.kind,
                    "state": recipient.state,
                    "reason": recipient.reason,
                }
                for recipient in instance.recipients.all()
                if self.context["is_own"] or recipient.kind != RecipientKind.BCC
            ],
        }


class ManagedMailSerializer(MailSerializer):
    """The email after an action; a client without the scope `mails:read` gets its state alone."""

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, those beyond the state as optional."""
        fields = super().get_fields()
        for name in fields.keys() - MailStateSerializer().fields.keys():
            fields[name].required = False
        return fields


def represent_accepted(mail: Mail, request: Request, *, content: str | None) -> dict[str, Any]:
    """Return an email as `AcceptedMailSerializer` declares it."""
    mail_id = str(mail.id)
    url = build_mail_api_url(request, mail_id)
    return {
        "id": mail_id,
        "url": url,
        "events": f"{url}/events/",
        "sender": mail.sender,
        "recipient": mail.recipient,
        "recipients": mail.recipient,
        "subject": mail.subject,
        "content": content,
        "created": format_time(mail.created_at),
        "created_at": to_nanoseconds(mail.created_at),
        "queue": mail.queue,
        "delivery_guarantee": mail.delivery_guarantee,
    }


def build_mail_api_url(request: Request | HttpRequest, mail_id: uuid.UUID | str) -> str:
    """Return the absolute URL of an email, on the host that was asked."""
    return f"{request.scheme}://{request.get_host()}{_find_path(get_script_prefix())}{mail_id}"


@lru_cache(maxsize=8)  # Django searches its patterns for each URL
def _find_path(prefix: str) -> str:
    """Return the path of the API's emails, where Mercury is served below `prefix`."""
    return reverse("api-mail-list")


def _represent_file(file: MailFile, request: Request) -> dict[str, Any]:
    url = f"{build_mail_api_url(request, file.mail_id)}/files/{file.number}"
    return {
        "number": file.number,
        "filename": file.filename,
        "content_type": file.content_type,
        "size": file.size,
        "sha256": file.content_id,
        "content_id": file.cid,
        "url": url if file.content_id else None,
        "link": None,
    }


def _represent_linked(link: DownloadLink, attached: int, context: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "number": attached + link.number,
        "filename": link.filename,
        "content_type": link.content_type,
        "size": link.size,
        "sha256": link.sha256,
        "content_id": "",
        "url": None,
        "link": LinkSerializer(context=dict(context)).to_representation(link),
    }


def _represent_message(message: Message, *, is_cut: bool, with_blind: bool) -> dict[str, Any]:
    kinds: dict[str, list[dict[str, str]]] = {kind.value: [] for kind in RecipientKind}
    for recipient in message.recipients:
        if with_blind or recipient.kind != RecipientKind.BCC:
            kinds[recipient.kind].append(_represent_mailbox(recipient))
    return {
        "html": None if is_cut else message.html,
        **kinds,
        "reply_to": [_represent_mailbox(mailbox) for mailbox in message.reply_to],
        "headers": dict(message.headers),
        "tags": list(message.tags),
        "metadata": dict(message.metadata),
        "unsubscribe_url": message.unsubscribe_url,
        "unsubscribe_mailto": message.unsubscribe_mailto,
    }


def _represent_mailbox(mailbox: Mailbox | Recipient) -> dict[str, str]:
    return {"email": mailbox.address, "name": mailbox.name}
