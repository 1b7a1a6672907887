"""The alerts about client webhooks. A pure function of those that need a person."""

from collections.abc import Iterable, Sequence

from mails.reporting.account_alerts import Alert
from mails.reporting.webhook_status import TroubledWebhook
from mercury.lib.durations import format_duration

LONG_BEHIND = 5 * 60.0  # seconds that an event may wait for a webhook that works


def find_webhook_alerts(webhooks: Sequence[TroubledWebhook], lag: float | None) -> Iterable[Alert]:
    """Yield an alert for each webhook that Mercury has disabled, for each that has failed for an hour, and for all if late."""
    if lag is not None and lag > LONG_BEHIND:
        yield Alert(
            code="webhooks_behind",
            tone="waiting",
            about="",
            sentence=f"Events have waited for client webhooks for {format_duration(lag)}.",
            remedy="Start a worker with the role webhooks, or one more: manage.py worker --roles webhooks",
        )
    for webhook in webhooks:
        named = f"Webhook {webhook.url} of {webhook.application}"
        if webhook.disabled_at is not None:
            yield Alert(
                code="webhook_disabled",
                tone="waiting",
                about=webhook.id,
                sentence=f"{named} is disabled: {webhook.reason}",
                remedy="Its events wait. Fix the receiver, then enable the webhook, or disable it yourself to confirm.",
                since=webhook.disabled_at,
            )
        else:
            yield Alert(
                code="webhook_failing",
                tone="waiting",
                about=webhook.id,
                sentence=f"{named} accepts no events: {webhook.reason}",
                remedy="Fix the receiver: what waits is delivered then. After three days the webhook is disabled.",
                since=webhook.failing_since,
            )
