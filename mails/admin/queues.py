"""Queues: their shares and rate limits, and the rules that pick the queue of an email."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse

from mails import queue_rules, queue_settings
from mails.admin.actions import name_actor
from mails.conditions.parsing import ConditionsInvalid
from mails.models import QueueRule, QueueSettings
from mails.queue_settings import QueueSettingsInvalid
from mercury.lib.guarded_admin import GuardedAdmin
from mercury.lib.rates import parse_rate


class RateField(forms.CharField):
    """Emails a second, written as 20/s or 600/m."""

    def prepare_value(self, value: Any) -> Any:
        """Return a stored rate as people write it."""
        return f"{value:g}/s" if isinstance(value, float) else value

    def clean(self, value: Any) -> Any:
        """Return emails a second; None for no limit."""
        try:
            rate = parse_rate(super().clean(value))
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
        return rate.per_second if rate else None


class QueueSettingsForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Share and rate limit of one queue."""

    rate = RateField(
        required=False,
        help_text="Emails that all workers together begin to send, such as 20/s or 600/m. Empty: no limit.",
    )

    class Meta:
        model = QueueSettings
        fields = ("queue", "share", "rate")

    def clean_share(self) -> int | None:
        """Refuse a share that is no percentage, with the remedy."""
        share: int | None = self.cleaned_data["share"]
        try:
            queue_settings.check_share(self.cleaned_data.get("queue") or self.instance.queue, share)
        except QueueSettingsInvalid as error:
            raise forms.ValidationError(str(error)) from error
        return share


@admin.register(QueueSettings)
class QueueSettingsAdmin(GuardedAdmin):
    """Shares and rate limits. A queue that is not in the list has the share of MERCURY_QUEUE_SHARES, and no rate limit."""

    empty_sentence = (
        "A queue appears here when you give it a share or a rate limit of its own; every other queue has the share of "
        "MERCURY_QUEUE_SHARES and no rate limit."
    )
    form = QueueSettingsForm
    list_display = ("queue", "share_in_words", "rate_in_words", "changed_at", "who")

    def get_readonly_fields(self, request: HttpRequest, obj: QueueSettings | None = None) -> tuple[str, ...]:
        """Keep the queue of settings that exist."""
        return ("queue",) if obj else ()

    @admin.display(description="share", ordering="share")
    def share_in_words(self, row: QueueSettings) -> str:
        """Return the share, and whether it is the default."""
        if row.share is None:
            return f"{queue_settings.get_default(row.queue)} % (MERCURY_QUEUE_SHARES)"
        return f"{row.share} %"

    @admin.display(description="rate limit", ordering="rate")
    def rate_in_words(self, row: QueueSettings) -> str:
        """Return the rate limit."""
        return "none" if row.rate is None else f"{row.rate:g} emails/s"

    def save_model(self, request: HttpRequest, obj: QueueSettings, form: Any, change: bool) -> None:
        """Store the settings; workers follow within two seconds."""
        queue_settings.change(obj.queue, share=obj.share, rate=obj.rate, by=name_actor(request))

    def delete_model(self, request: HttpRequest, obj: QueueSettings) -> None:
        """Return to the defaults."""
        queue_settings.reset([obj.queue], by=name_actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Return to the defaults."""
        queue_settings.reset([row.queue for row in queryset], by=name_actor(request))


class QueueRuleForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """One rule. Its conditions are checked as the API checks those of routing rules."""

    class Meta:
        model = QueueRule
        fields = ("position", "name", "conditions", "queue", "enabled")

    def clean_conditions(self) -> Any:
        """Refuse conditions that cannot be read, or that no email can meet."""
        given = {} if self.cleaned_data["conditions"] is None else self.cleaned_data["conditions"]
        try:
            queue_rules.check(given)
        except ConditionsInvalid as error:
            problems = [f"{place}: {problem}" if place else problem for place, problem in error.errors.items()]
            raise forms.ValidationError(problems) from error
        return given


@admin.register(QueueRule)
class QueueRuleAdmin(GuardedAdmin):
    """Rules in the order in which they are tried. The first one that an email meets decides."""

    empty_sentence = (
        "A rule that you add here picks the queue of the emails it matches; without one, the content and size of an "
        "email decide."
    )
    form = QueueRuleForm
    audits_itself = True
    list_display = ("position", "name", "matches", "queue", "enabled", "changed_at", "who")
    list_display_links = ("name",)
    ordering = ("position", "id")

    @admin.display(description="emails")
    def matches(self, row: QueueRule) -> str:
        """Return which emails it matches."""
        return queue_rules.describe_conditions(row)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the rules, with what is probably wrong with them."""
        if request.method == "GET":
            self._warn(request)
        return super().changelist_view(request, extra_context)

    def _warn(self, request: HttpRequest) -> None:
        for warning in queue_rules.list_warnings(QueueRule.objects.all()):
            messages.warning(request, warning)

    def save_model(self, request: HttpRequest, obj: QueueRule, form: Any, change: bool) -> None:
        """Store the rule; processes follow within two seconds."""
        queue_rules.save(obj, by=name_actor(request))

    def delete_model(self, request: HttpRequest, obj: QueueRule) -> None:
        """Delete the rule."""
        queue_rules.delete([obj], by=name_actor(request))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete the rules."""
        queue_rules.delete(list(queryset), by=name_actor(request))
