"""Provider accounts: as answers show them, without their secrets, and as clients register and change them.

A declaration states a field's type, limits and description; the registry enforces the limits, for every door.
"""

import datetime as dt
from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from mercury.lib import rates
from mercury.lib.database import database_clock
from mercury.lib.json_values import convert_to_plain
from mercury.lib.rest import filters
from mercury.lib.rest.filters import FilterField, ValueType
from mercury.lib.rest.problems import FieldError, Problem, build_pointer
from mercury.lib.rest.serializers import (
    DataclassSerializer,
    StrictBooleanField,
    StrictCharField,
    StrictDictField,
    StrictIntegerField,
    StrictNumberField,
    StrictSerializer,
)
from providers.accounts.config import MAX_PRIORITY, MAX_WEIGHT
from providers.accounts.options import list_shown_options
from providers.accounts.registry import Candidate
from providers.kinds.base import ProviderKind
from providers.kinds.catalog import KINDS
from providers.models import Account, AccountSource, BreakerMode, BreakerState
from providers.quotas.rules import FIELDS as QUOTA_FIELDS
from providers.quotas.rules import MAX_MONTH_DAY, MAX_QUOTA
from providers.routing.quota_status import QuotaStatus, describe_quota

FIELDS: filters.FilterFields = {
    "id": FilterField(column="id", kind=ValueType.INTEGER),
    "name": FilterField(column="name"),
    "kind": FilterField(column="kind", values=tuple(KINDS)),
    "source": FilterField(column="source", values=AccountSource.values),
    "weight": FilterField(column="weight", kind=ValueType.INTEGER),
    "priority": FilterField(column="priority", kind=ValueType.INTEGER),
}
_NAME = "^[a-z0-9]+(-[a-z0-9]+)*$"


@extend_schema_field({"type": "object", "additionalProperties": {"type": ["string", "integer", "null"]}})
class OptionsField(StrictDictField):
    """The options of an account."""


class NameField(StrictCharField, serializers.RegexField):
    """The name of an account."""


class BreakerSerializer(serializers.Serializer[Any]):
    """The circuit breaker of an account."""

    mode = serializers.ChoiceField(choices=BreakerMode.values, help_text="Who decides.")
    state = serializers.ChoiceField(choices=BreakerState.values, help_text="What it lets through.")
    says = serializers.CharField(
        help_text='In words: "1 failure of 5", "probe in 26 s"; or what the account refuses, if it refuses every request.'
    )


class QuotaStatusSerializer(DataclassSerializer):
    """The quotas of an account: what it has sent, and what it may send."""

    class Meta:
        dataclass = QuotaStatus
        help_texts = {
            "unit": "What is counted: `emails` or `recipients`.",
            "used_today": "Sent in the provider's day.",
            "allowed_today": "At most in that day; null for no limit.",
            "used_this_month": "Sent in the provider's month.",
            "allowed_this_month": "At most in that month; null for no limit.",
            "left": "What may be sent now; null for no limit.",
            "reason": "Why it may send nothing now; empty if it may.",
            "next_at": "When it may send again; null if it may, or if somebody has to open it.",
            "out_since": "Since when its provider says that a quota is used up; null if it does not.",
            "out_reason": "The provider's words.",
            "warm_up": "Where its warm-up is, such as `day 3 of 30`; empty without one.",
            "warnings": "Quotas that are hardly meant, each with a remedy.",
        }


class AccountFields(serializers.Serializer[Any]):
    """The fields of an account that a client may set."""

    options = OptionsField(
        required=False,
        help_text='The account\'s options, by its kind. Secrets are never shown, only as "set, ends …4fA".',
    )
    weight = StrictIntegerField(
        required=False,
        min_value=0,
        max_value=MAX_WEIGHT,
        help_text="Its share of the weighted selection, 0 to 10,000; an account with 0 is never selected.",
        style={"example": 2},
    )
    priority = StrictIntegerField(
        required=False,
        min_value=1,
        max_value=MAX_PRIORITY,
        help_text="1 goes first, up to 100. Accounts of the next number take email when none before them can.",
        style={"example": 1},
    )
    rate = StrictNumberField(
        required=False,
        allow_null=True,
        min_value=rates.MIN_PER_SECOND,
        max_value=rates.MAX_PER_SECOND,
        help_text="Requests per second at most; null for no limit.",
        style={"example": 14},
    )
    daily_quota = StrictIntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MAX_QUOTA,
        help_text="At most this many a day, in what the provider counts; null for no limit.",
        style={"example": 500},
    )
    monthly_quota = StrictIntegerField(
        required=False,
        allow_null=True,
        min_value=1,
        max_value=MAX_QUOTA,
        help_text="At most this many a month; null for no limit.",
        style={"example": 10_000},
    )
    quota_spread = StrictBooleanField(
        required=False,
        allow_null=True,
        help_text="Each day gets an equal share of what is left of the month; null: where that is the only quota.",
    )
    quota_zone = StrictCharField(
        required=False,
        max_length=64,
        help_text="Time zone in which the provider's day begins.",
        style={"example": "UTC"},
    )
    quota_month_day = StrictIntegerField(
        required=False,
        min_value=1,
        max_value=MAX_MONTH_DAY,
        help_text="Day on which the provider's month begins, 1 to 28.",
        style={"example": 1},
    )
    warm_up = StrictCharField(
        required=False,
        allow_blank=True,
        max_length=1000,
        help_text="First day, and emails of each day or a number of days: `2026-12-01:50,100` or `2026-12-01:30d`.",
        style={"example": "2026-12-01:30d"},
    )
    trust_500 = StrictBooleanField(
        required=False, help_text="True: a 500 of this provider means that it did not accept the email."
    )
    enabled = StrictBooleanField(required=False, help_text="False: it is never selected.")


class ProviderAccountSerializer(AccountFields):
    """An account and its health."""

    id = serializers.IntegerField(help_text="The account's id.")
    url = serializers.URLField(help_text="The account itself.")
    name = serializers.CharField(help_text="Its name, as events have it.")
    kind = serializers.ChoiceField(choices=list(KINDS), help_text="The provider.")
    source = serializers.ChoiceField(  # type: ignore[assignment]  # its own name here
        choices=AccountSource.values, help_text="Where its options come from."
    )
    configured = serializers.BooleanField(help_text="False: this process lacks its options.")
    in_use = serializers.BooleanField(help_text="It may be selected, as far as its breaker allows.")
    breaker = BreakerSerializer(
        help_text="Its circuit breaker: `mode`, `state`, and `says`, the state in words, or what the account refuses, if it refuses every request."
    )
    quota = QuotaStatusSerializer(help_text="What it has sent of its quotas, and what it may send.")
    created = serializers.DateTimeField(help_text="When it was first seen.")
    can = serializers.ListField(
        child=serializers.CharField(), help_text="What an account of its kind can do, in words."
    )
    cannot = serializers.ListField(child=serializers.CharField(), help_text="What it cannot do, in words.")

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, in the order of an answer; it has them all."""
        fields = super().get_fields()
        for field in fields.values():
            field.required = True
        return {name: fields[name] for name in ("id", "url", "name", "kind", "source")} | fields

    def to_representation(self, instance: tuple[Account, Candidate, str]) -> dict[str, Any]:
        """Return the account, given its row, what the registry knows of it, and how it is, in words."""
        row, candidate, says = instance
        kind = KINDS.get(row.kind)  # a newer version's kind is not known here
        return {
            "id": row.pk,
            "url": build_account_url(self.context["request"], row.pk),
            "name": row.name,
            "kind": row.kind,
            "source": row.source,
            "options": {option.name: option.value for option in list_shown_options(row)},
            "weight": row.weight,
            "priority": row.priority,
            "rate": row.rate,
            **{name: getattr(row, name) for name in QUOTA_FIELDS},
            "trust_500": row.trust_500,
            "enabled": row.enabled,
            "configured": candidate.configured,
            "in_use": candidate.enabled and candidate.configured,
            "breaker": {
                "mode": candidate.breaker.mode,
                "state": candidate.breaker.state,
                "says": says,
            },
            "quota": convert_to_plain(describe_quota(candidate, database_clock.now())),
            "created": f"{row.created_at.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%S.%f}Z",
            "can": kind.capabilities.can if kind else (),
            "cannot": kind.capabilities.cannot if kind else (),
        }


class WrittenAccountSerializer(StrictSerializer, AccountFields):
    """An account as a client sends it; the fields of an answer may be sent back."""

    ignored = ("breaker", "can", "cannot", "configured", "created", "id", "in_use", "quota", "source", "url")
    problem = ("invalid_account", "The account was not stored; see errors.")

    def refuse(self, errors: Mapping[str, str]) -> Problem:
        """Return the answer to what the registry refuses; a key names a field, or `options.NAME`."""
        code, summary = self.problem
        found = [
            FieldError(detail=detail, code="invalid", pointer=build_pointer(*field.split(".", 1)))
            for field, detail in errors.items()
        ]
        return Problem(400, code, summary, errors=found)


class OpenAccountSerializer(StrictSerializer):
    """Why an account is opened again."""

    note = StrictCharField(
        required=False,
        default="",
        allow_blank=True,
        max_length=150,
        help_text="The reason, for the account's history.",
        style={"example": "Credit bought"},
    )


class ChangedProviderAccountSerializer(WrittenAccountSerializer):
    """Changes of an account. What is left out stays as it is."""

    name = StrictCharField(required=False, help_text="An account keeps its name: send it as it is, or not at all.")
    kind = StrictCharField(required=False, help_text="An account keeps its kind: send it as it is, or not at all.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the changes. Raises ValidationError for a new identity: events name an account, options belong to its kind."""
        account: Account = self.context["account"]
        errors = {
            field: serializers.ErrorDetail(
                f"An account keeps its {field}: '{getattr(account, field)}'. Register another one.", "fixed"
            )
            for field in ("name", "kind")
            if attrs.pop(field, getattr(account, field)) != getattr(account, field)
        }
        if errors:
            raise serializers.ValidationError({field: [detail] for field, detail in errors.items()})
        return attrs


class NewProviderAccountSerializer(WrittenAccountSerializer):
    """A new account."""

    name = NameField(
        regex=_NAME,
        max_length=64,
        help_text="Lower case letters, digits and single dashes, at most 64 characters.",
        style={"example": "mailgun-eu"},
    )
    kind = StrictCharField(help_text="The provider; docs/providers/ has a page for each.")

    def get_fields(self) -> dict[str, Any]:
        """Return the fields, the required ones first."""
        fields = super().get_fields()
        return {name: fields[name] for name in ("name", "kind")} | fields


def describe_kind(kind: ProviderKind) -> type[NewProviderAccountSerializer]:
    """Return the serializer of a new account of one kind, for the OpenAPI schema."""
    name = "".join(filter(str.isalnum, kind.label))
    options = {option.name: _describe_option(option) for option in kind.options}
    needed = any(option.required for option in kind.options)
    described = type(
        f"{name}OptionsSerializer", (StrictSerializer,), {**options, "__doc__": f"Options of {kind.label}."}
    )
    fields = {
        "kind": serializers.ChoiceField(choices=[kind.key], help_text="The provider."),
        "options": described(required=needed),
        "__doc__": f"A new account of {kind.label}.",
    }
    return type(f"New{name}AccountSerializer", (NewProviderAccountSerializer,), fields)


def _describe_option(option: Any) -> serializers.Field[Any, Any, Any, Any]:
    words = f"{option.label}. {option.help}".strip() + (" Never shown again." if option.secret else "")
    if option.most is not None:
        return serializers.IntegerField(required=option.required, min_value=1, max_value=option.most, help_text=words)
    if option.choices:
        return serializers.ChoiceField(required=option.required, choices=list(option.choices), help_text=words)
    return serializers.CharField(required=option.required, help_text=words)


ANY_NEW_ACCOUNT = PolymorphicProxySerializer(
    component_name="NewProviderAccount",
    serializers={key: describe_kind(kind) for key, kind in KINDS.items()},
    resource_type_field_name="kind",
)


def build_account_url(request: Request, account_id: int) -> str:
    """Return the absolute URL of an account, on the host that was asked."""
    return request.build_absolute_uri(reverse("api-provider-detail", kwargs={"account_id": account_id}))
