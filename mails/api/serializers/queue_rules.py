"""Queue rules as answers show them, and as clients send them. `mails.queue_rules` has the rules of the fields, for every door."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from rest_framework import serializers
from rest_framework.request import Request

from mails import queue_rules
from mails.api.fields import format_time
from mails.api.serializers.rules import ConditionsSerializer
from mails.models import QueueRule
from mails.queues import QueueName
from mercury.lib.rest.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictIntegerField,
    StrictSerializer,
)

_QUEUE = "The queue of the emails that it matches."
_POSITION = "Rules are tried in this order, the smallest first."


class QueueRuleSerializer(serializers.Serializer[Any]):
    """A queue rule."""

    id = serializers.IntegerField(help_text="The rule's id.")
    url = serializers.URLField(help_text="The rule itself.")
    name = serializers.CharField(help_text="Its name, as events have it.")
    position = serializers.IntegerField(help_text=_POSITION)
    enabled = serializers.BooleanField(help_text="False: it matches nothing.")
    sentence = serializers.CharField(help_text="The rule in one sentence.")
    conditions = ConditionsSerializer(help_text="Which emails it matches; empty: all.")
    queue = serializers.ChoiceField(choices=QueueName.values, help_text=_QUEUE)
    changed = serializers.DateTimeField(help_text="When it was changed last.")
    changed_by = serializers.CharField(help_text="Who changed it: `user:`, `key:` and a name, or the command line.")

    def to_representation(self, instance: QueueRule) -> dict[str, Any]:
        """Return the rule."""
        return {
            "id": instance.pk,
            "url": build_queue_rule_url(self.context["request"], instance.pk),
            "name": instance.name,
            "position": instance.position,
            "enabled": instance.enabled,
            "sentence": queue_rules.describe(instance),
            "conditions": instance.conditions,
            "queue": instance.queue,
            "changed": format_time(instance.changed_at),
            "changed_by": instance.changed_by,
        }


class StoredQueueRuleSerializer(QueueRuleSerializer):
    """A queue rule as it was stored, with what is probably wrong with it."""

    warnings = serializers.ListField(
        child=serializers.CharField(), help_text="What is probably wrong, each in a sentence; empty if nothing."
    )

    def to_representation(self, instance: QueueRule) -> dict[str, Any]:
        """Return the rule with its warnings. Two queries."""
        warnings = queue_rules.list_warnings(QueueRule.objects.all(), about=instance.name)
        return {**super().to_representation(instance), "warnings": warnings}


class NewQueueRuleSerializer(StrictSerializer):
    """A queue rule to store."""

    name = StrictCharField(max_length=64, help_text="A name, which events repeat.", style={"example": "news"})
    queue = StrictChoiceField(choices=QueueName.values, help_text=_QUEUE)
    conditions = ConditionsSerializer(required=False, help_text="Which emails it matches; left out: all.")
    enabled = StrictBooleanField(required=False, help_text="False: it matches nothing.")
    position = StrictIntegerField(required=False, min_value=0, help_text=f"{_POSITION} Default: 100.")

    ignored = ("changed", "changed_by", "id", "sentence", "url", "warnings")
    problem = ("invalid_rule", "The rule was not stored; see errors.")


class ChangedQueueRuleSerializer(NewQueueRuleSerializer):
    """Changes of a queue rule. What is left out stays as it is."""

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, all optional."""
        fields = super().get_fields()
        for field in fields.values():
            field.required = False
        return fields


def build_queue_rule_url(request: Request | HttpRequest, pk: int) -> str:
    """Return the absolute URL of a rule."""
    return request.build_absolute_uri(reverse("api-queue-rule-detail", args=(pk,)))
