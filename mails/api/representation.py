"""Mails and events as answers show them. Plain functions: an answer costs microseconds, and no query of its own."""

import datetime as dt
import uuid
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from rest_framework.request import Request

from mails import timeline
from mails.lanes import Lane
from mails.lifecycle.action_requests import Order
from mails.models import Event, Mail
from mails.states import Policy, Status
from mails.stops import Stop
from mercury.lib.rest import filters
from mercury.lib.rest.filters import Kind, Sieve
from providers.outcomes import FailureClass

MAIL_FIELDS: filters.Fields = {
    "id": Sieve("id", Kind.UUID),
    "sender": Sieve("sender"),
    "recipient": Sieve("recipient"),
    "recipients": Sieve("recipient"),
    "subject": Sieve("subject"),
    "status": Sieve("status", values=Status.values),
    "lane": Sieve("lane", values=Lane.values),
    "policy": Sieve("policy", values=Policy.values),
    "provider": Sieve("provider"),
    "fault": Sieve("fault", values=("", *FailureClass)),
    "reason_code": Sieve("reason_code"),
    "attempts": Sieve("attempt_count", Kind.INTEGER),
    "created": Sieve("created_at", Kind.MOMENT),
}
EVENT_FIELDS: filters.Fields = {
    "id": Sieve("id", Kind.INTEGER),
    "event": Sieve("event"),
    "created_at": Sieve("created_at", Kind.INTEGER),
    "created_by": Sieve("created_by"),
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def new_mail(mail: Mail, content: str | None, request: Request | HttpRequest) -> dict[str, Any]:
    """What of a mail never changes, so that the answer to a repeated request is the first one again."""
    mail_id = str(mail.pk)
    url = mail_url(request, mail_id)
    return {
        "id": mail_id,
        "url": url,
        "events": f"{url}/events/",
        "sender": mail.sender,
        "recipient": mail.recipient,
        "recipients": mail.recipient,
        "subject": mail.subject,
        "content": content,
        "created": iso(mail.created_at),
        "created_at": nanoseconds(mail.created_at),
        "lane": mail.lane,
        "policy": mail.policy,
    }


def mail(mail: Mail, request: Request | HttpRequest, stop: Stop) -> dict[str, Any]:
    """A mail and where it stands, under this stop. Runs no query if its `content` and `recipients` are loaded."""
    try:
        content = mail.content.text
    except ObjectDoesNotExist:  # a mail whose body was removed
        content = ""
    return listed_mail(mail, content, request, stop)


def listed_mail(mail: Mail, content: str | None, request: Request | HttpRequest, stop: Stop) -> dict[str, Any]:
    """The same with this content; None says that the list leaves it out. Runs no query if its `recipients` are loaded."""
    outcomes = [
        {"address": recipient.address, "state": recipient.state, "reason": recipient.reason}
        for recipient in mail.recipients.all()
    ]
    obstacles = [{"account": one.account, "reason": one.reason, "until": iso(one.until)} for one in stop.obstacles]
    words = {
        "content_left_out": content is None,
        "verdict": timeline.verdict(mail, timezone.now(), stop),
        "obstacles": obstacles,
        "outcomes": outcomes,
    }
    return new_mail(mail, content, request) | state(mail, request) | words


def state(mail: Mail, request: Request | HttpRequest) -> dict[str, Any]:
    """Where a mail stands, without what it says and to whom: for a client that may steer it and not read it."""
    return {
        "id": str(mail.pk),
        "url": mail_url(request, mail.pk),
        "status": mail.status,
        "provider": mail.provider,
        "attempts": mail.attempt_count,
        "fault": mail.fault,
        "reason_code": mail.reason_code,
        "possibly_twice": mail.doubtful,
        "wish": Order.parse(mail.wish).action if mail.wish else None,
        "next_attempt": iso(mail.next_attempt_at),
        "expires": iso(mail.expires_at),
        "finished": iso(mail.finished_at),
        "text_removed": iso(mail.text_removed_at),
    }


def event(event: Event, request: Request | HttpRequest) -> dict[str, Any]:
    """An event of a mail."""
    mail_id = str(event.mail_id)
    return {
        "id": event.pk,
        "url": event_url(request, mail_id, event.pk),
        "mail_id": mail_id,
        "mail": mail_url(request, mail_id),
        "event": event.event,
        "created_at": event.created_at,
        "created": iso(_EPOCH + dt.timedelta(microseconds=event.created_at // 1000)),
        "created_by": event.created_by,
        "blob": event.blob,
    }


def mail_url(request: Request | HttpRequest, mail_id: uuid.UUID | str) -> str:
    """The absolute URL of a mail, on the host that was asked."""
    return request.build_absolute_uri(reverse("api-mail", kwargs={"mail_id": str(mail_id)}))


def event_url(request: Request | HttpRequest, mail_id: uuid.UUID | str, event_id: int) -> str:
    """The absolute URL of one event."""
    return request.build_absolute_uri(reverse("api-event", kwargs={"mail_id": str(mail_id), "event_id": event_id}))


def iso(moment: dt.datetime | None) -> str | None:
    """A time as ISO 8601 in UTC, microseconds always written: `2026-11-24T13:00:00.000000Z`."""
    return f"{moment.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z" if moment else None


def nanoseconds(moment: dt.datetime) -> int:
    """Nanoseconds since the Unix epoch, exactly."""
    return (moment - _EPOCH) // dt.timedelta(microseconds=1) * 1000
