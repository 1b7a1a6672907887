"""The forms of routing rules and of their preview. They turn what was typed into the JSON that every door reads."""

import json
from collections.abc import Mapping
from email import message_from_string, policy
from email.message import EmailMessage
from typing import Any, cast

from django import forms
from django.http import QueryDict

from mails.conditions.parsing import LISTS, RANGES
from mails.models import ApiKey, RoutingRule
from mails.queues import QueueName
from mails.routing import changes
from mails.routing.drafts import MAX_NOTE, RuleDraft, RuleInvalid, read_change, read_draft

_MAX_PASTED = 200_000  # characters
_HELP = {
    "sender_domain": "olimpus.com, or *.olimpus.com for the domains below it. Several: separated by commas.",
    "recipient_domain": "Met if any recipient has one of them. Several: separated by commas.",
    "tag": "Several: separated by commas.",
    "api_key": "Names of API keys, separated by commas.",
}
_LABELS = {
    "sender_domain": "Domain of the sender",
    "recipient_domain": "Domain of a recipient",
    "tag": "Tag",
    "api_key": "API key",
}


class RuleForm(forms.Form):
    """A routing rule: its name, conditions, and the accounts that it allows. `drafts` checks the values."""

    name = forms.CharField(max_length=64, help_text="Lower case letters, digits and dashes, such as eu-only.")

    def __init__(self, data: Any = None, *, row: RoutingRule | None = None) -> None:
        super().__init__(data, initial=_read_initial(row) if row else {"enabled": True})
        self.label_suffix = ""
        self.row = row
        self.draft: RuleDraft | None = None
        self.known = changes.list_known_accounts()
        for name, label in _LABELS.items():
            self.fields[name] = forms.CharField(required=False, label=label, help_text=_HELP[name])
        self.fields["queue"] = forms.MultipleChoiceField(
            required=False, choices=QueueName.choices, widget=forms.CheckboxSelectMultiple, label="Queue"
        )
        for name in RANGES:
            unit = "Bytes" if name == "size" else "Recipients"
            for end in ("from", "to"):
                self.fields[f"{name}_{end}"] = forms.IntegerField(required=False, label=f"{unit} {end}")
        self.fields["enabled"] = forms.BooleanField(required=False, label="Enabled")
        self.fields["note"] = forms.CharField(required=False, max_length=MAX_NOTE, help_text="What it is for.")
        self.fields["position"] = forms.IntegerField(
            required=False, min_value=1, label="Place", help_text="Counted from 1. Empty: the end, or where it was."
        )

    @property
    def accounts(self) -> list[dict[str, Any]]:
        """Return a row for each account: its name, and what was typed."""
        stored = {entry["account"]: entry for entry in self.row.accounts} if self.row else {}
        if not self.is_bound:
            return [{"name": name, "allowed": name in stored, **stored.get(name, {})} for name in self.known]
        chosen = set(cast(QueryDict, self.data).getlist("account"))
        return [
            {
                "name": name,
                "allowed": name in chosen,
                "priority": self.data.get(f"priority-{name}", ""),
                "weight": self.data.get(f"weight-{name}", ""),
            }
            for name in self.known
        ]

    def clean(self) -> dict[str, Any]:
        """Read the rule; an error of a part becomes one of its field."""
        cleaned = self.cleaned_data
        if self.errors:
            return cleaned
        given = {
            "name": cleaned["name"],
            "conditions": self._read_conditions(),
            "accounts": self._read_accounts(),
            "enabled": cleaned["enabled"],
            "note": cleaned["note"],
        }
        try:
            if self.row is not None:
                self.draft = read_change(self.row, given, known_accounts=self.known)
            else:
                self.draft = read_draft(given, known_accounts=self.known)
        except RuleInvalid as invalid:
            self.add_errors(invalid.errors)
        return cleaned

    def add_errors(self, errors: Mapping[str, str]) -> None:
        """Show errors by place at their fields."""
        for place, problem in errors.items():
            parts = place.split(".")
            field = parts[1] if parts[0] == "conditions" and len(parts) > 1 else parts[0]
            field = f"{field}_from" if field in RANGES else field
            self.add_error(field if field in self.fields else None, problem)

    def _read_conditions(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        lists = {
            name: cleaned[name]
            if isinstance(cleaned[name], list)
            else [part.strip() for part in cleaned[name].split(",") if part.strip()]
            for name in LISTS
        }
        ranges = {
            name: {end: cleaned[f"{name}_{end}"] for end in ("from", "to") if cleaned[f"{name}_{end}"] is not None}
            for name in RANGES
        }
        return {name: value for name, value in (lists | ranges).items() if value}

    def _read_accounts(self) -> list[dict[str, Any]]:
        return [
            {"account": account["name"]}
            | {key: _read_number(account[key]) for key in ("priority", "weight") if account[key].strip()}
            for account in self.accounts
            if account["allowed"]
        ]


def _read_number(text: str) -> Any:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _read_initial(row: RoutingRule) -> dict[str, Any]:
    conditions = row.conditions
    lists = {name: ", ".join(conditions.get(name, [])) for name in LISTS if name != "queue"}
    ranges = {f"{name}_{end}": conditions.get(name, {}).get(end) for name in RANGES for end in ("from", "to")}
    own = {"name": row.name, "enabled": row.enabled, "note": row.note, "position": row.position}
    return own | lists | ranges | {"queue": conditions.get("queue", [])}


class PreviewForm(forms.Form):
    """An email to preview: typed, pasted, or a stored one by its id."""

    sender = forms.CharField(required=False, label="From", max_length=500)
    recipient = forms.CharField(required=False, label="To", max_length=5000, help_text="Several: separated by commas.")
    tags = forms.CharField(required=False, label="Tags", max_length=500, help_text="Several: separated by commas.")
    api_key = forms.ChoiceField(required=False, label="Submitted with the API key")
    pasted = forms.CharField(
        required=False,
        label="Or paste an email",
        max_length=_MAX_PASTED,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text="The JSON of the API, or the source of a message with its headers.",
    )
    mail = forms.UUIDField(required=False, label="Or the id of a stored email")

    def __init__(self, data: Any = None, **options: Any) -> None:
        super().__init__(data, **options)
        self.label_suffix = ""
        names = ApiKey.objects.filter(revoked_at=None).order_by("name").values_list("name", flat=True).distinct()
        field = self.fields["api_key"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 (declared above)
        field.choices = [("", "none"), *((name, name) for name in names)]

    def clean(self) -> dict[str, Any]:
        """Return the values. An error if there is nothing to preview, or the pasted text is neither JSON nor a message."""
        cleaned = self.cleaned_data
        if not self.errors and not (
            cleaned["mail"] or cleaned["pasted"] or (cleaned["sender"] and cleaned["recipient"])
        ):
            self.add_error("sender", "Write From and To, paste an email, or give the id of one.")
        if cleaned.get("pasted"):
            try:
                cleaned["fields"] = read_pasted(cleaned["pasted"])
            except ValueError as error:
                self.add_error("pasted", str(error))
        return cleaned

    def read_fields(self) -> dict[str, Any]:
        """Return the fields of the email as the API takes them."""
        cleaned = self.cleaned_data
        if "fields" in cleaned:
            return dict(cleaned["fields"])
        tags = [part.strip() for part in cleaned["tags"].split(",") if part.strip()]
        fields = {"sender": cleaned["sender"], "recipient": cleaned["recipient"]}
        return fields | ({"tags": tags} if tags else {})


def read_pasted(text: str) -> dict[str, Any]:
    """Return the fields of an email that was pasted, as JSON or as the source of a message. Raises ValueError."""
    if text.lstrip().startswith("{"):
        try:
            return dict(json.loads(text))
        except (ValueError, RecursionError):
            raise ValueError("This begins like JSON, and is none. Check quotes and commas.") from None
    try:
        fields = _read_message(text)
    except (LookupError, AttributeError, TypeError):  # what Python's parser trips over
        raise ValueError("This message cannot be read. Paste its headers and its text only.") from None
    if not fields["sender"] or not fields["to"]:
        raise ValueError("It needs the headers From and To, each on a line of its own, or is JSON.")
    return fields


def _read_message(text: str) -> dict[str, Any]:
    message = message_from_string(text.replace("\r\n", "\n").lstrip("\n"), policy=policy.default)
    assert isinstance(message, EmailMessage)  # noqa: S101 (its policy makes no other)
    headers = {"sender": "from", "to": "to", "cc": "cc", "bcc": "bcc", "subject": "subject"}
    fields = {name: str(message[header] or "") for name, header in headers.items()}
    parts = {"content": message.get_body(("plain",)), "html": message.get_body(("html",))}
    bodies = {name: part.get_content() for name, part in parts.items() if part is not None}
    kept = {name: value for name, value in fields.items() if value or name in ("sender", "to", "subject")}
    return kept | bodies
