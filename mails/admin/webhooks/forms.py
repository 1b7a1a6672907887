"""The forms of a webhook: its settings, and the period whose events are delivered again."""

from typing import Any

from django import forms

from mails.events.webhooks.operations import InvalidChoice
from mails.events.webhooks.redelivery import Period
from mails.events.webhooks.urls import MAX_URL
from mails.models import ApiKey, Webhook
from mails.states import EventName
from mercury.lib.database import database_clock


class WebhookForm(forms.Form):
    """The settings of a webhook. Its API key is chosen once."""

    api_key = forms.ModelChoiceField(
        queryset=ApiKey.objects.filter(revoked_at=None).order_by("name"),
        label="API key",
        empty_label=None,
        help_text="It gets the events of this key's emails.",
    )
    url = forms.CharField(
        label="URL",
        max_length=MAX_URL,
        widget=forms.TextInput(attrs={"spellcheck": "false", "inputmode": "url"}),
        help_text="Such as https://shop.olimpus.com/hooks/mercury.",
    )
    description = forms.CharField(required=False, max_length=200, help_text="What it is for.")
    events = forms.MultipleChoiceField(
        required=False,
        choices=[(name.value, name.value) for name in EventName],
        widget=forms.CheckboxSelectMultiple,
        help_text="None checked: all events, also those that clients append.",
    )
    addresses = forms.BooleanField(
        required=False, label="Send whole addresses", help_text="Else events have only the domains of addresses."
    )

    def __init__(self, data: Any = None, *, webhook: Webhook | None = None) -> None:
        names = ("url", "description", "events", "addresses") if webhook else ()
        super().__init__(data, initial={name: getattr(webhook, name) for name in names})
        self.label_suffix = ""
        if webhook is not None:
            del self.fields["api_key"]

    def add_refusal(self, error: Exception) -> None:
        """Show the error of an operation at the field that it is about."""
        field = error.field if isinstance(error, InvalidChoice) else "url"
        self.add_error(field if field in self.fields else None, str(error))


class PeriodForm(forms.Form):
    """The period whose events are delivered again; times are UTC."""

    _TIME = {"type": "datetime-local"}
    since = forms.DateTimeField(
        label="Events from", widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs=_TIME), help_text="UTC."
    )
    until = forms.DateTimeField(
        required=False,
        label="Before",
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M", attrs=_TIME),
        help_text="UTC. Empty: now.",
    )
    only_failed = forms.BooleanField(
        required=False,
        initial=True,
        label="Only those whose delivery was given up",
        help_text="Else all events that the webhook gets, also those that it has.",
    )

    def __init__(self, data: Any = None, **options: Any) -> None:
        super().__init__(data, **options)
        self.label_suffix = ""

    def clean(self) -> dict[str, Any]:
        """Refuse a period that ends before it begins."""
        since, until = self.cleaned_data.get("since"), self.cleaned_data.get("until")
        if since and until and since >= until:
            self.add_error("until", "It must be after the beginning.")
        return self.cleaned_data

    def get_period(self) -> Period:
        """Return the period that was filled in; one without an end ends now."""
        chosen = self.cleaned_data
        until = chosen["until"] or database_clock.now()
        return Period(since=chosen["since"], until=until, only_failed=chosen["only_failed"])

    def list_given(self, period: Period) -> list[tuple[str, str]]:
        """Return what a form has to send for the same period."""
        moments = [(name, getattr(period, name).isoformat()) for name in ("since", "until")]
        return [*moments, ("only_failed", "on" if period.only_failed else "")]
