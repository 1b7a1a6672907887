"""The form of an account. Its fields come from the kind's options; `registry` judges what is typed."""

from collections.abc import Mapping
from typing import Any

from django import forms

from providers.accounts import registration
from providers.accounts.errors import AccountChangeNotAllowed, AccountInvalid
from providers.accounts.options import list_shown_options
from providers.kinds.capabilities import KINDS, Option
from providers.models import Account, AccountSource

_OPTION = "option_"


class AccountForm(forms.Form):
    """Name, options of the kind, weight, limit, and what its 500s mean."""

    name = forms.CharField(max_length=64, help_text="Lower case letters, digits and dashes, such as mailgun-eu.")
    weight = forms.IntegerField(initial=1, help_text="Its share of the weighted draw. 0 is never drawn.")
    rate = forms.FloatField(required=False, label="Limit", help_text="Calls a second. Empty: no limit.")
    trust_500 = forms.BooleanField(
        required=False, label="Trust its 500s", help_text="Its answer 500 is known to mean “not taken”."
    )
    enabled = forms.BooleanField(required=False, initial=True, help_text="A disabled account gets no mail.")

    def __init__(self, *args: Any, kind: str, account: Account | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.kind = kind
        self.account = account
        rest = {name: self.fields.pop(name) for name in ("weight", "rate", "trust_500", "enabled")}
        if account is not None:
            del self.fields["name"]
        if account is None or account.source == AccountSource.DATABASE:
            shown = {option.name: option.value for option in list_shown_options(account)} if account else {}
            for option in KINDS[kind].options:
                self.fields[_OPTION + option.name] = _field(option, shown.get(option.name, ""), new=account is None)
        self.fields.update(rest)

    def save(self, *, by: str) -> Account | None:
        """Store what was typed; None if `registry` finds fault with it, and the form says with what."""
        try:
            return self._update(self.account, by) if self.account else self._register(by)
        except AccountInvalid as invalid:
            self._show(invalid.errors)
        except AccountChangeNotAllowed as fixed:
            self.add_error(None, str(fixed))
        return None

    def _register(self, by: str) -> Account:
        data = self.cleaned_data
        return registration.register(
            data["name"],
            self.kind,
            self._options(),
            weight=data["weight"],
            rate=data["rate"],
            trust_500=data["trust_500"],
            enabled=data["enabled"],
            by=by,
        )

    def _update(self, account: Account, by: str) -> Account:
        data = self.cleaned_data
        return registration.update(
            account,
            by=by,
            options=self._options(),
            weight=data["weight"],
            rate=data["rate"],
            trust_500=data["trust_500"],
            enabled=data["enabled"],
            no_rate=data["rate"] is None,
        )

    def _options(self) -> dict[str, Any]:
        """The options as typed. A secret left empty stays as it is; without its user name a password goes too."""
        options = {}
        for option in KINDS[self.kind].options:
            if _OPTION + option.name not in self.fields:
                continue
            value = self.cleaned_data[_OPTION + option.name]
            if option.is_long:
                value = value.replace("\r\n", "\n")  # as it is stored, so that what nobody changed is no change
            dropped = option.name == "password" and not self.cleaned_data.get(f"{_OPTION}username")
            if value or not option.secret or self.account is None or dropped:
                options[option.name] = value
        return options

    def _show(self, errors: Mapping[str, str]) -> None:
        for name, fault in errors.items():
            field = name.replace("options.", _OPTION)
            self.add_error(field if field in self.fields else None, fault)

    @property
    def faults(self) -> list[tuple[str, str, str]]:
        """What the summary lists: id of the field, its label, the fault."""
        return [
            (str(self[name].id_for_label), str(self.fields[name].label or name.capitalize()), str(error))
            if name in self.fields
            else ("", "", str(error))
            for name, errors in self.errors.items()
            for error in errors
        ]


def _field(option: Option, shown: str, *, new: bool) -> forms.Field:
    if option.choices:
        initial = shown or option.default
        return forms.ChoiceField(label=option.label, choices=[(c, c) for c in option.choices], initial=initial)
    default = str(option.default or "")
    if option.secret:
        note = option.help if new else f"{shown or 'Not set'}. Leave it empty to keep it."
        widget: forms.Widget = forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"})
        keeps_blanks = option.name == "password"
        return forms.CharField(
            label=option.label, required=False, help_text=note, widget=widget, strip=not keeps_blanks
        )
    shape = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}) if option.is_long else forms.TextInput()
    return forms.CharField(
        label=option.label, required=False, help_text=option.help, initial=shown or default, widget=shape
    )
