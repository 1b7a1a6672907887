"""Routing rules and previews of routing decisions: as answers show them, and as clients send them.

A declaration describes a field for the API's document; `mails.routing.drafts` has the rules, for every door.
"""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request

from mails.api.fields import format_time
from mails.conditions.parsing import MAX_ENTRIES, MAX_NUMBER
from mails.intake.route_preview import RoutePreview
from mails.intake.submission import SubmissionSerializer
from mails.models import RoutingRule
from mails.queues import QueueName
from mails.routing.book import load_rule
from mails.routing.drafts import MAX_NOTE, NAME
from mercury.lib.rest.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
)
from providers.accounts.config import MAX_PRIORITY, MAX_WEIGHT


class RangeSerializer(serializers.Serializer[Any]):
    """Whole numbers, both included."""

    def get_fields(self) -> dict[str, Any]:
        """Return the fields; `from` is a word of Python."""
        return {
            "from": serializers.IntegerField(
                required=False, min_value=0, max_value=MAX_NUMBER, help_text="At least this number."
            ),
            "to": serializers.IntegerField(
                required=False, min_value=0, max_value=MAX_NUMBER, help_text="At most this number."
            ),
        }


def _make_list(help_text: str, **options: Any) -> serializers.ListField:
    child = options.pop("child", serializers.CharField())
    return serializers.ListField(
        child=child, required=False, min_length=1, max_length=MAX_ENTRIES, help_text=help_text, **options
    )


class ConditionsSerializer(serializers.Serializer[Any]):
    """Conditions of a rule: all that are given must be met; a list is met by any of its entries."""

    sender_domain = _make_list("Domains of the sender: `olimpus.com`, or `*.olimpus.com` for the domains below it.")
    recipient_domain = _make_list("Domains of recipients; met if any recipient has one of them.")
    tag = _make_list("Tags.")
    queue = _make_list("Queues.", child=serializers.ChoiceField(choices=QueueName.values))
    api_key = _make_list("Names of API keys.")
    size = RangeSerializer(required=False, help_text="Bytes of subject, bodies, other fields and attachments.")
    recipients = RangeSerializer(required=False, help_text="How many recipients it has in all.")


class RuleAccountSerializer(serializers.Serializer[Any]):
    """An account that a rule allows."""

    account = serializers.CharField(help_text="Its name.")
    priority = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_PRIORITY, help_text="1 goes first. Left out: the account's own."
    )
    weight = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_WEIGHT, help_text="Its share. Left out: the account's own."
    )


class RoutingRuleSerializer(serializers.Serializer[Any]):
    """A routing rule."""

    id = serializers.IntegerField(help_text="The rule's id.")
    url = serializers.URLField(help_text="The rule itself.")
    name = serializers.CharField(help_text="Its name, as events have it.")
    position = serializers.IntegerField(help_text="Its place, counted from 1. The first rule that matches decides.")
    enabled = serializers.BooleanField(help_text="False: it matches nothing.")
    sentence = serializers.CharField(help_text="The rule in one sentence.")
    conditions = ConditionsSerializer(help_text="Which emails it matches; empty: all.")
    accounts = RuleAccountSerializer(many=True, help_text="The accounts that these emails may use.")
    note = serializers.CharField(help_text="What it is for.")
    changed = serializers.DateTimeField(help_text="When it was changed last.")
    changed_by = serializers.CharField(help_text="Who changed it: `user:`, `key:` and a name, or the command line.")

    def to_representation(self, instance: RoutingRule) -> dict[str, Any]:
        """Return the rule."""
        rule = load_rule(instance)
        return {
            "id": instance.pk,
            "url": build_rule_url(self.context["request"], instance.pk),
            "name": instance.name,
            "position": instance.position,
            "enabled": instance.enabled,
            "sentence": rule.sentence if rule else "",
            "conditions": instance.conditions,
            "accounts": instance.accounts,
            "note": instance.note,
            "changed": format_time(instance.changed_at),
            "changed_by": instance.changed_by,
        }


class StoredRoutingRuleSerializer(RoutingRuleSerializer):
    """A routing rule as it was stored, with what is odd about it."""

    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="What may not be meant, each with an example; empty if nothing."
    )

    def to_representation(self, instance: tuple[RoutingRule, list[str]]) -> dict[str, Any]:  # type: ignore[override]
        """Return the rule, given its row and the warnings."""
        row, warnings = instance
        return {**super().to_representation(row), "warnings": warnings}


class NewRoutingRuleSerializer(StrictSerializer):
    """A routing rule to store."""

    name = serializers.RegexField(
        f"^{NAME}$",
        max_length=64,
        help_text="Lower case letters, digits and single dashes, at most 64 characters.",
        style={"example": "eu-only"},
    )
    conditions = ConditionsSerializer(required=False, help_text="Which emails it matches; left out: all.")
    accounts = RuleAccountSerializer(
        many=True, help_text="The accounts that these emails may use; a name alone will do for one."
    )
    enabled = StrictBooleanField(required=False, help_text="False: it matches nothing.")
    note = StrictCharField(required=False, max_length=MAX_NOTE, help_text="What it is for.")
    position = StrictIntegerField(
        required=False, min_value=1, help_text="Its place, counted from 1; left out: the end, or where it was."
    )

    ignored = ("changed", "changed_by", "id", "sentence", "url", "warnings")
    problem = ("invalid_rule", "The rule was not stored; see errors.")


class ChangedRoutingRuleSerializer(NewRoutingRuleSerializer):
    """Changes of a routing rule. What is left out stays as it is."""

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, all optional."""
        fields = super().get_fields()
        for field in fields.values():
            field.required = False
        return fields


class _PreviewOptions(serializers.Serializer[Any]):
    api_key = serializers.CharField(
        required=False, help_text="The name of the API key that would submit it; left out: none."
    )
    rule = NewRoutingRuleSerializer(
        required=False, help_text="A rule to try before it is stored, in place of the one of the same name."
    )


class PreviewedSubmissionSerializer(_PreviewOptions, SubmissionSerializer):
    """An email, and under which rules to look."""


class PreviewedMailSerializer(_PreviewOptions):
    """A stored email, and under which rules to look."""

    mail = serializers.UUIDField(help_text="Its id.")


class RuleCheckSerializer(serializers.Serializer[Any]):
    """One rule, as it was asked."""

    rule = serializers.CharField(help_text="Its name.")
    sentence = serializers.CharField(help_text="The rule in one sentence.")
    decides = serializers.BooleanField(help_text="It is the first that matches.")
    why_not = serializers.CharField(help_text="Why it does not decide; empty if it does.")


class PreviewedAccountSerializer(serializers.Serializer[Any]):
    """One account, as it was evaluated."""

    account = serializers.CharField(help_text="Its name.")
    eligible = serializers.BooleanField(help_text="It could take the email now.")
    share = serializers.FloatField(help_text="Its part of the draw, from 0 to 1.")
    weight = serializers.IntegerField(help_text="Its weight for this email.")
    priority = serializers.IntegerField(help_text="Its priority for this email.")
    note = serializers.CharField(help_text="Why it could not, or comes later; as `READY TO SEND` has it.")
    refuses = serializers.CharField(help_text="What it refuses, if it refuses every request; empty otherwise.")


class RoutePreviewSerializer(serializers.Serializer[Any]):
    """What would happen to an email now. Nothing was stored or sent."""

    sentence = serializers.CharField(help_text="The answer in a sentence.")
    queue = serializers.ChoiceField(choices=QueueName.values, help_text="The queue that it would wait in.")
    paused = serializers.CharField(help_text="The pause that would keep it; empty for none.")
    rule = serializers.CharField(allow_null=True, help_text="The rule that decides; null: none, any account may.")
    via = serializers.CharField(allow_null=True, help_text="The account that a person chose, before any rule.")
    rules = RuleCheckSerializer(many=True, help_text="All rules in their order.")
    accounts = PreviewedAccountSerializer(many=True, help_text="All accounts, by name.")

    def to_representation(self, instance: RoutePreview) -> dict[str, Any]:
        """Return the preview."""
        return instance.to_json()


def build_rule_url(request: Request | HttpRequest, rule_id: int) -> str:
    """Return the absolute URL of a rule."""
    return request.build_absolute_uri(reverse("api-rule-detail", kwargs={"rule_id": rule_id}))
