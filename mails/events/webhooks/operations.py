"""What clients and people do with webhooks. Each act is in the audit log.

Errors, whose text says what to do:

    UrlNotAllowed     (of `urls`, a ValueError) the URL
    InvalidChoice     (a ValueError) another value
    TooManyWebhooks   the API key has as many as it may have
    WebhookDisabled   nothing is sent to it
"""

import datetime as dt
import difflib
from collections.abc import Iterable
from dataclasses import dataclass

import structlog
from django.db import transaction
from django.db.models import Max, Q

from mails.events.webhooks import signing
from mails.events.webhooks.urls import check_url
from mails.models import ApiKey, DeliveryStatus, Event, Webhook, WebhookDelivery
from mails.models.webhook import BY_MERCURY
from mails.states import EventName
from mercury.lib import encryption
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock

log = structlog.get_logger(__name__)

AUDIT_KIND = "webhook"  # in the audit log
MOST_PER_KEY = 20  # webhooks: each event costs a delivery for each
OVERLAP_HOURS = 24  # that both secrets are valid after a rotation, unless said otherwise
MOST_OVERLAP_HOURS = 24 * 30
_DISABLED = "The webhook is disabled. Enable it first."
BATCH = 5000  # deliveries deleted in one transaction


class InvalidChoice(ValueError):
    """A value that a webhook cannot have: the name of the field, and a text that says which, and how to write it."""

    def __init__(self, field: str, text: str) -> None:
        super().__init__(text)
        self.field = field


class TooManyWebhooks(Exception):
    """The API key has as many webhooks as it may have."""


class WebhookDisabled(Exception):
    """The webhook is disabled, so nothing is sent to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """A webhook and its secret in clear, which is shown once."""

    webhook: Webhook
    secret: str


def create(
    api_key: ApiKey,
    *,
    url: str,
    by: str,
    description: str = "",
    events: Iterable[str] = (),
    addresses: bool = False,
) -> NewWebhook:
    """Store a webhook that gets the key's events from now on, and return it with its secret.

    `events`: names of EventName; none means all, and also those that clients append. Raises UrlNotAllowed, InvalidChoice,
    and TooManyWebhooks.
    """
    webhook, secret = check_new(api_key, url=url, description=description, events=events), signing.generate_secret()
    webhook.addresses, webhook.secret = addresses, encryption.encrypt(secret)
    webhook.created_at, webhook.created_by = database_clock.now(), by[:160]
    webhook.position = Event.objects.aggregate(last=Max("id"))["last"] or 0
    with transaction.atomic():
        ApiKey.objects.select_for_update().get(pk=api_key.pk)  # so that two at once are counted
        _check_room(webhook)
        webhook.save(force_insert=True)
        _record(Act.REGISTER, webhook, by=by, detail=_describe(webhook))
    return NewWebhook(webhook=webhook, secret=secret)


def check_new(api_key: ApiKey, *, url: str, description: str = "", events: Iterable[str] = ()) -> Webhook:
    """Return a new webhook with these values, not stored. Raises as `create` does."""
    check_url(url)
    webhook = Webhook(
        api_key=api_key, url=url, description=_check_description(description), events=_check_events(events)
    )
    _check_room(webhook)
    return webhook


def update(
    webhook: Webhook,
    *,
    by: str,
    url: str | None = None,
    description: str | None = None,
    events: Iterable[str] | None = None,
    addresses: bool | None = None,
) -> Webhook:
    """Change what is given, for all deliveries not yet sent, and return the webhook. Raises UrlNotAllowed and InvalidChoice."""
    webhook.refresh_from_db()
    changed: dict[str, object] = {}
    if url is not None and url != webhook.url:
        check_url(url)
        changed |= {"url": url, "rests_until": None}  # the new one has not failed
    if description is not None:
        changed["description"] = _check_description(description)
    if events is not None:
        changed["events"] = _check_events(events)
    if addresses is not None:
        changed["addresses"] = addresses
    changed = {name: value for name, value in changed.items() if getattr(webhook, name) != value}
    if changed:
        with transaction.atomic():
            _check_single(webhook, url or webhook.url)
            for name, value in changed.items():
                setattr(webhook, name, value)
            webhook.save(update_fields=list(changed))
            _record(Act.CHANGE, webhook, by=by, detail=_describe(webhook))
    return webhook


def remove(webhook: Webhook, *, by: str) -> None:
    """Delete the webhook and its deliveries. One that is being sent may still arrive."""
    disable(webhook, by=by, reason="It is being removed.")
    own = WebhookDelivery.objects.filter(webhook=webhook)
    while ids := list(own.values_list("pk", flat=True)[:BATCH]):
        WebhookDelivery.objects.filter(pk__in=ids).delete()
    with transaction.atomic():
        _record(Act.DELETE, webhook, by=by, detail="")
        Webhook.objects.filter(pk=webhook.pk).delete()


def rotate_secret(webhook: Webhook, *, by: str, hours: int = OVERLAP_HOURS) -> str:
    """Replace the secret and return the new one, which is shown once.

    For `hours` (0 to 720) each request has a signature with either, so that the client can switch at any time. Raises
    InvalidChoice.
    """
    if not 0 <= hours <= MOST_OVERLAP_HOURS:
        raise InvalidChoice("hours", f"Both secrets can be valid for 0 to {MOST_OVERLAP_HOURS} hours, not {hours}.")
    secret = signing.generate_secret()
    with transaction.atomic():
        row = Webhook.objects.select_for_update().get(pk=webhook.pk)
        webhook.previous_secret = row.secret if hours else ""
        webhook.previous_secret_until = database_clock.now() + dt.timedelta(hours=hours) if hours else None
        webhook.secret = encryption.encrypt(secret)
        webhook.save(update_fields=["secret", "previous_secret", "previous_secret_until"])
        _record(Act.ROTATE, webhook, by=by, detail=f"The previous secret is valid for {hours} hours.")
    return secret


def disable(webhook: Webhook, *, by: str, reason: str = "") -> bool:
    """Send nothing to the webhook until it is enabled; return False if it was disabled before.

    Its deliveries wait, and later events are delivered when it is enabled again. A person may disable what Mercury has
    disabled: then it is no alert any more.
    """
    enabled = Q(disabled_at=None)
    if by != BY_MERCURY:
        enabled |= Q(disabled_by=BY_MERCURY)
    with transaction.atomic():
        changed = Webhook.objects.filter(enabled, pk=webhook.pk).update(
            disabled_at=database_clock.now(), disabled_by=by[:160], disabled_reason=reason[:500]
        )
        if changed:
            _record(Act.CHANGE, webhook, by=by, detail=f"Disabled. {reason}".strip())
    webhook.refresh_from_db()
    return bool(changed)


def enable(webhook: Webhook, *, by: str) -> bool:
    """Send what has waited and what happened since it was disabled; return False if it was not disabled.

    Each waiting delivery has three days again.
    """
    with transaction.atomic():
        changed = Webhook.objects.filter(pk=webhook.pk, disabled_at__isnull=False).update(
            disabled_at=None,
            disabled_by="",
            disabled_reason="",
            failing_since=None,
            failures=0,
            last_error="",
            rests_until=None,
        )
        if changed:
            _start_again(webhook)
            _record(Act.CHANGE, webhook, by=by, detail="Enabled.")
    webhook.refresh_from_db()
    return bool(changed)


def _start_again(webhook: Webhook) -> None:
    """Give all waiting deliveries three days again, from now on."""
    now = database_clock.now()
    waiting = WebhookDelivery.objects.filter(webhook=webhook, status=DeliveryStatus.WAITING)
    waiting.filter(Q(attempts__gt=0) | Q(next_attempt_at__gt=now)).update(
        attempts=0, first_attempt_at=None, next_attempt_at=now
    )


def hurry(webhook: Webhook) -> None:
    """Let deliveries that wait for their next attempt be tried now: the webhook, which failed as a whole, is back."""
    now = database_clock.now()
    waiting = WebhookDelivery.objects.filter(webhook=webhook, status=DeliveryStatus.WAITING)
    waiting.filter(next_attempt_at__gt=now).update(next_attempt_at=now)


def send_test(webhook: Webhook, *, by: str) -> WebhookDelivery:
    """Send a test event, before all that waits and also while the webhook rests; return its delivery. Raises WebhookDisabled."""
    now = database_clock.now()
    with transaction.atomic():
        if not Webhook.objects.filter(pk=webhook.pk, disabled_at=None).update(rests_until=None):
            raise WebhookDisabled(_DISABLED)
        _record(Act.TEST, webhook, by=by, detail="")
        return WebhookDelivery.objects.create(
            webhook=webhook,
            created_at=now,
            next_attempt_at=webhook.created_at,  # the earliest is sent first
        )


def _check_room(webhook: Webhook) -> None:
    """Refuse a new webhook of a key that has as many as it may have, or one with this URL."""
    if Webhook.objects.filter(api_key=webhook.api_key_id).count() >= MOST_PER_KEY:
        raise TooManyWebhooks(f"The API key has {MOST_PER_KEY} webhooks, the maximum. Remove one first.")
    _check_single(webhook, webhook.url)


def check_enabled(webhook: Webhook) -> None:
    """Raise WebhookDisabled if nothing is sent to the webhook."""
    if webhook.disabled_at is not None:
        raise WebhookDisabled(_DISABLED)


def _check_single(webhook: Webhook, url: str) -> None:
    """Refuse a second webhook of the same key and URL: its events would arrive there twice."""
    if Webhook.objects.filter(api_key=webhook.api_key_id, url=url).exclude(pk=webhook.pk).exists():
        raise InvalidChoice("url", "The API key has a webhook with this URL. Change that one, or use another URL.")


def _check_description(description: str) -> str:
    if len(description) > 200:
        raise InvalidChoice("description", "The description is longer than 200 characters.")
    return description


def _check_events(events: Iterable[str]) -> list[str]:
    chosen = list(dict.fromkeys(events))
    if unknown := [name for name in chosen if name not in EventName.values]:
        raise InvalidChoice("events", explain_unknown_event(unknown[0]))
    return chosen


def explain_unknown_event(name: str) -> str:
    """Return an error that names the closest event, or all of them."""
    close = difflib.get_close_matches(name.upper().replace("_", " "), EventName.values, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"Events: {', '.join(EventName.values)}."
    return f"There is no event '{name[:64]}'. {hint}"


def _record(act: Act, webhook: Webhook, *, by: str, detail: str) -> None:
    audit.record(act, by=by, kind=AUDIT_KIND, name=webhook.url, object_id=webhook.pk, detail=detail)


def _describe(webhook: Webhook) -> str:
    events = ", ".join(webhook.events) or "all"
    return f"events: {events}; addresses: {'whole' if webhook.addresses else 'domains alone'}"
