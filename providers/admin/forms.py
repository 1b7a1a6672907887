"""The form of an account. Its fields are the kind's options; `registry` validates the values."""

from collections.abc import Mapping
from typing import Any

from django import forms

from providers.accounts import registration
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.accounts.options import list_shown_options
from providers.kinds.base import Option, Transport
from providers.kinds.catalog import KINDS
from providers.models import Account, AccountSource
from providers.quotas.rules import FIELDS as QUOTA_FIELDS

_OPTION = "option_"


class AccountForm(forms.Form):
    """Name, options of the kind, weight, priority, rate limit, quotas, and how to treat HTTP 500."""

    name = forms.CharField(max_length=64, help_text="Lower case letters, digits and dashes, such as mailgun-eu.")
    weight = forms.IntegerField(initial=1, help_text="Relative share of traffic (0 = none).")
    priority = forms.IntegerField(
        required=False,
        initial=1,
        help_text="1 goes first. Accounts with 2 take email when no account with 1 can, and so on.",
    )
    rate = forms.FloatField(required=False, label="Limit", help_text="Requests per second. Empty: no limit.")
    daily_quota = forms.IntegerField(
        required=False, help_text="At most this many a day, in what the provider counts. Empty: no limit."
    )
    monthly_quota = forms.IntegerField(required=False, help_text="At most this many a month. Empty: no limit.")
    quota_spread = forms.TypedChoiceField(
        required=False,
        label="Spread the month",
        choices=[("", "Where it is the only quota"), ("1", "Yes"), ("0", "No")],
        coerce=lambda text: text == "1",
        empty_value=None,
        help_text="Each day gets an equal share of what is left of the month.",
    )
    quota_zone = forms.CharField(
        required=False, label="Time zone", initial="UTC", help_text="In which the provider's day begins, such as UTC."
    )
    quota_month_day = forms.IntegerField(
        required=False, label="Month begins on day", initial=1, help_text="1 to 28; the day of the invoice."
    )
    warm_up = forms.CharField(
        required=False,
        label="Warm-up",
        help_text="First day and emails of each day, 2026-12-01:50,100,500, or a number of days, 2026-12-01:30d.",
    )
    trust_500 = forms.BooleanField(
        required=False,
        label="Treat HTTP 500 as not sent",
        help_text="Only if the provider documents that an HTTP 500 means the email was not accepted.",
    )
    enabled = forms.BooleanField(required=False, initial=True, help_text="A disabled account gets no email.")

    def __init__(self, *args: Any, kind: str, account: Account | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.kind = kind
        self.account = account
        if KINDS[kind].transport is not Transport.HTTP:
            del self.fields["trust_500"]
        last = ("weight", "priority", "rate", *QUOTA_FIELDS, "trust_500", "enabled")
        rest: dict[str, forms.Field] = {name: self.fields.pop(name) for name in last if name in self.fields}
        if account is not None:
            del self.fields["name"]
        if account is None or account.source == AccountSource.DATABASE:
            shown = {option.name: option.value for option in list_shown_options(account)} if account else {}
            for option in KINDS[kind].options:
                self.fields[_OPTION + option.name] = _make_field(
                    option, shown.get(option.name, ""), new=account is None
                )
        self.fields.update(rest)

    def save(self, *, by: str) -> Account | None:
        """Store the account; return None if `registry` rejects it, and the form shows why."""
        try:
            return self._update(self.account, by) if self.account else self._register(by)
        except AccountInvalid as error:
            self._show_errors(error.errors)
        except AccountChangeNotAllowed as error:
            self.add_error(None, str(error))
        return None

    def _register(self, by: str) -> Account:
        data = self.cleaned_data
        return registration.register(
            data["name"],
            self.kind,
            self._read_options(),
            weight=data["weight"],
            priority=data["priority"] if data["priority"] is not None else 1,
            rate=data["rate"],
            quota=self._read_quota(),
            trust_500=data.get("trust_500", False),
            enabled=data["enabled"],
            by=by,
        )

    def _update(self, account: Account, by: str) -> Account:
        data = self.cleaned_data
        return registration.update(
            account,
            by=by,
            options=self._read_options(),
            weight=data["weight"],
            priority=data["priority"],
            rate=data["rate"],
            quota=self._read_quota(),
            trust_500=data.get("trust_500"),
            enabled=data["enabled"],
            no_rate=data["rate"] is None,
        )

    def _read_quota(self) -> dict[str, Any]:
        return {name: self.cleaned_data[name] for name in QUOTA_FIELDS}

    def _read_options(self) -> dict[str, Any]:
        """Return the typed options. An empty secret is not changed; a password is removed with its user name."""
        options = {}
        for option in KINDS[self.kind].options:
            if _OPTION + option.name not in self.fields:
                continue
            value = self.cleaned_data[_OPTION + option.name]
            if option.is_long:
                value = value.replace("\r\n", "\n")  # as stored, so that an unchanged value counts as unchanged
            dropped = option.name == "password" and not self.cleaned_data.get(f"{_OPTION}username")
            if value or not option.secret or self.account is None or dropped:
                options[option.name] = value
        return options

    def _show_errors(self, errors: Mapping[str, str]) -> None:
        for name, error in errors.items():
            field = name.replace("options.", _OPTION)
            self.add_error(field if field in self.fields else None, error)

    @property
    def error_list(self) -> list[tuple[str, str, str]]:
        """Return the errors for the summary: id of the field, its label, the error."""
        return [
            (str(self[name].id_for_label), str(self.fields[name].label or name.capitalize()), str(error))
            if name in self.fields
            else ("", "", str(error))
            for name, errors in self.errors.items()
            for error in errors
        ]


def _make_field(option: Option, shown: str, *, new: bool) -> forms.Field:
    if option.choices:
        initial = shown or option.default
        return forms.ChoiceField(label=option.label, choices=[(c, c) for c in option.choices], initial=initial)
    default = str(option.default or "")
    if option.secret:
        note = option.help if new else f"{shown or 'Not set'}. Leave empty to keep it."
        widget: forms.Widget = forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"})
        return forms.CharField(
            label=option.label, required=False, help_text=note, widget=widget, strip=not option.keeps_blanks
        )
    shape = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}) if option.is_long else forms.TextInput()
    return forms.CharField(
        label=option.label, required=False, help_text=option.help, initial=shown or default, widget=shape
    )
