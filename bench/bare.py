"""The baseline of Mercury's intake: a bare view of Django REST framework that stores the same rows.

No API key, no rules but the serializer's, no wake-up, and of all middleware only what gives an answer its length. An
`Idempotency-Key` is stored and never looked at. `by-orm` writes as anybody would at first; `by-statement` writes the
rows of an email by Mercury's one statement, and a key's by another.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction
from django.urls import path
from rest_framework import serializers
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mails.lifecycle import writer
from mails.lifecycle.values import EventDraft, MailState, NewMail
from mails.message.message import Message, MessageRecipient
from mails.models import Content, Event, IdempotencyKey, Mail, Recipient, uuid7
from mails.states import Actor, EventName, Source, Status
from mercury.lib.database import database_clock

STATE = {"source": Source.API, "queue": "text", "delivery_guarantee": "at-least-once"}
NAMES = (EventName.NEW, EventName.ACCEPTED, EventName.ENQUEUE)


class Submission(serializers.Serializer[Any]):
    """An email."""

    sender = serializers.EmailField(max_length=256)
    recipient = serializers.EmailField(max_length=320)
    subject = serializers.CharField(max_length=512)
    content = serializers.CharField()


def build_mail(given: Mapping[str, Any], now: dt.datetime) -> Mail:
    """Return the row of an email."""
    return Mail(
        id=uuid7(),
        created_at=now,
        expires_at=now + dt.timedelta(days=3),
        size=len(given["content"]),
        **{name: given[name] for name in ("sender", "recipient", "subject")} | STATE,
    )


class Bare(APIView):
    """Checks and stores; the subclass says how."""

    authentication_classes: tuple[()] = ()
    permission_classes: tuple[()] = ()
    renderer_classes = (JSONRenderer,)

    def post(self, request: Request) -> Response:
        """Take an email."""
        submission = Submission(data=request.data)
        submission.is_valid(raise_exception=True)
        now_ns = database_clock.now_ns()
        now = database_clock.from_ns(now_ns)
        given = submission.validated_data
        mail = build_mail(given, now)
        name = request.headers.get("Idempotency-Key")
        key = IdempotencyKey(owner="bare", key=name, body_hash="0" * 64, mail=mail, created_at=now) if name else None
        self.store(mail, given, now_ns, key)
        return Response({"id": mail.pk, **given}, status=202)

    def store(self, mail: Mail, given: dict[str, str], now_ns: int, key: IdempotencyKey | None) -> None:
        """Write the six rows, and the key's if there is one, in one transaction."""
        raise NotImplementedError


class ByOrm(Bare):
    """Row by row, the events together."""

    def store(self, mail: Mail, given: dict[str, str], now_ns: int, key: IdempotencyKey | None) -> None:
        """Write the six rows, and the key's if there is one, in one transaction."""
        mail.status, mail.next_attempt_at = Status.QUEUED, mail.created_at
        with transaction.atomic():
            mail.save(force_insert=True)
            Content.objects.create(mail=mail, text=given["content"])
            Recipient.objects.create(mail=mail, address=given["recipient"])
            Event.objects.bulk_create(
                [Event(mail=mail, event=name, created_by=Actor.MAIL_SERVICE, created_at=now_ns) for name in NAMES]
            )
            if key is not None:
                key.save(force_insert=True)


class ByStatement(Bare):
    """All rows by one statement."""

    def store(self, mail: Mail, given: dict[str, str], now_ns: int, key: IdempotencyKey | None) -> None:
        """Write the six rows, and the key's if there is one, in one transaction."""
        writer.create([build_new(mail, given, now_ns, key)])


def build_new(mail: Mail, given: Mapping[str, Any], now_ns: int, key: IdempotencyKey | None = None) -> NewMail:
    """Return the rows of an email, as Mercury's statement takes them."""
    state = MailState(status=Status.QUEUED, next_attempt_at=mail.created_at)
    events = tuple(EventDraft(event=name, by=Actor.MAIL_SERVICE, at_ns=now_ns) for name in NAMES)
    message = Message(
        sender=given["sender"],
        recipients=(MessageRecipient(address=given["recipient"]),),
        subject=given["subject"],
        text=given["content"],
    )
    return NewMail(mail=mail, message=message, state=state, events=events, key=key)


class BareBatch(APIView):
    """Checks and stores a list of mails; the subclass says how."""

    authentication_classes: tuple[()] = ()
    permission_classes: tuple[()] = ()
    renderer_classes = (JSONRenderer,)

    def post(self, request: Request) -> Response:
        """Take a list of mails."""
        submissions = Submission(data=request.data, many=True)
        submissions.is_valid(raise_exception=True)
        now_ns = database_clock.now_ns()
        now = database_clock.from_ns(now_ns)
        mails = [(build_mail(given, now), given) for given in submissions.validated_data]
        self.store(mails, now_ns)
        return Response([{"id": mail.pk, "status": 202} for mail, _ in mails], status=202)

    def store(self, mails: Sequence[tuple[Mail, Mapping[str, Any]]], now_ns: int) -> None:
        """Write the six rows of each, in one transaction."""
        raise NotImplementedError


class BatchByOrm(BareBatch):
    """Table by table."""

    def store(self, mails: Sequence[tuple[Mail, Mapping[str, Any]]], now_ns: int) -> None:
        """Write the six rows of each, in one transaction."""
        for mail, _ in mails:
            mail.status, mail.next_attempt_at = Status.QUEUED, mail.created_at
        with transaction.atomic():
            Mail.objects.bulk_create([mail for mail, _ in mails])
            Content.objects.bulk_create([Content(mail=mail, text=given["content"]) for mail, given in mails])
            Recipient.objects.bulk_create([Recipient(mail=mail, address=given["recipient"]) for mail, given in mails])
            Event.objects.bulk_create(
                [
                    Event(mail=mail, event=name, created_by=Actor.MAIL_SERVICE, created_at=now_ns)
                    for mail, _ in mails
                    for name in NAMES
                ]
            )


class BatchByStatement(BareBatch):
    """All rows by one statement."""

    def store(self, mails: Sequence[tuple[Mail, Mapping[str, Any]]], now_ns: int) -> None:
        """Write the six rows of each, in one transaction."""
        writer.create([build_new(mail, given, now_ns) for mail, given in mails])


urlpatterns = [
    path("by-orm/", ByOrm.as_view()),
    path("by-statement/", ByStatement.as_view()),
    path("batch-by-orm/", BatchByOrm.as_view()),
    path("batch-by-statement/", BatchByStatement.as_view()),
]
