"""The form that submits an email. It has no rules of its own: intake validates what is typed."""

import uuid
from collections.abc import Sequence
from typing import Any

from django import forms
from django.conf import settings

from mails.intake.client import is_sender_allowed
from mails.intake.receipts import InvalidField, RefusalReason, Refused
from mails.intake.submission import Submission, get_field
from mails.message.addresses import extract_address
from mails.web.attachment_rows import AttachmentRow
from mails.web.form_fields import PairsField, WordsField
from mercury.lib.moments import join_zone, list_zones

LONGEST_REPEATED = 100_000  # characters of a field that a rejected form shows again
LONGEST_BODY_REPEATED = 2_000_000
_BODIES = ("content", "html")
_TIMES = ("send_at", "expires_at")
_FIELD_OF = {"recipients": "recipient"}  # field of the submission -> field of the form
_ABOUT_KEYS = {
    RefusalReason.INVALID_KEY: "The form lost its protection against sending twice. Press Send again.",
    RefusalReason.KEY_REUSED: "Already sent with different content. Press Send to send it as a new email.",
    RefusalReason.KEY_IN_USE: "Already being sent; check My emails before you send it again.",
}


class _BodyField(forms.CharField):
    """A body. Browsers end lines with CR LF; it is stored with LF."""

    def __init__(self) -> None:
        super().__init__(required=False, strip=False, widget=forms.Textarea(attrs={"rows": 12, "data-mirrored": ""}))

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")


def _make_choice(name: str, empty: str) -> forms.CharField:
    """Return a field that offers the choices of a declaration. Intake refuses any other."""
    choices = [("", empty), *get_field(name).choices.items()]
    return forms.CharField(required=False, widget=forms.Select(choices=choices))


class SubmitForm(forms.Form):
    """All parts of an email, and a hidden idempotency key that makes a double submit harmless."""

    sender = forms.CharField(required=False)
    recipient = forms.CharField(required=False)
    cc = forms.CharField(required=False)
    bcc = forms.CharField(required=False)
    reply_to = forms.CharField(required=False)
    subject = forms.CharField(required=False)
    content = _BodyField()
    html = _BodyField()
    tags = WordsField(required=False)
    metadata = PairsField(required=False)
    headers = PairsField(required=False)
    unsubscribe_url = forms.CharField(required=False)
    unsubscribe_mailto = forms.CharField(required=False)
    queue = _make_choice("queue", "as the message requires")
    delivery_guarantee = _make_choice("delivery_guarantee", "the default")
    send_at = forms.CharField(required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))
    time_zone = forms.CharField(required=False, label="Time zone", initial="UTC")
    expires_at = forms.CharField(required=False, widget=forms.DateTimeInput(attrs={"type": "datetime-local"}))
    idempotency_key = forms.CharField(required=False, widget=forms.HiddenInput)

    later = ("send_at", "time_zone", "expires_at")
    more = ("tags", "metadata", "headers", "unsubscribe_url", "unsubscribe_mailto", "queue", "delivery_guarantee")

    def __init__(
        self, *args: Any, senders: list[str], attachments: Sequence[AttachmentRow] = (), **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.attachments = list(attachments)
        self.attachment_errors: list[str] = []
        self.any_sender = any(sender == "*" or sender.startswith("@") for sender in senders)
        self.known_senders = [sender for sender in senders if sender != "*" and not sender.startswith("@")]
        sender = str((self.data if self.is_bound else self.initial).get("sender") or "")
        sender = "" if len(sender) > LONGEST_REPEATED else sender  # intake refuses it, `with_new_key` adds the error
        self.refused_sender = "" if not sender or is_sender_allowed(extract_address(sender), senders) else sender
        if not self.any_sender:
            choices = list(self.known_senders)
            # An allowed address with a display name is not among the choices, but is allowed too.
            if sender and not self.refused_sender and sender not in choices:
                choices.insert(0, sender)
            self.fields["sender"].widget = forms.Select(choices=[(sender, sender) for sender in choices])
        self._describe_fields(senders)

    def _describe_fields(self, senders: list[str]) -> None:
        """Give the fields the labels and the help of their declarations, and what browsers need to know."""
        for name, field in self.fields.items():
            if name in ("idempotency_key", "time_zone"):  # of the form alone
                continue
            declared = get_field(name)
            field.label = declared.label
            field.help_text = declared.style.get("form_help", "").format(max_recipients=settings.MERCURY_MAX_RECIPIENTS)
            field.widget.attrs |= {"data-mirrored": "", "aria-describedby": f"id_{name}_note"}
        self.fields["sender"].help_text = _describe_senders(senders)
        for name in ("sender", "recipient", "cc", "bcc", "reply_to"):
            self.fields[name].widget.attrs |= {"autocomplete": "email", "spellcheck": "false"}
        self.fields["sender"].widget.attrs |= {"autocomplete": "off", "list": "senders"} if self.any_sender else {}
        own = {} if self.is_bound else {"data-own-zone": ""}
        self.fields["time_zone"].widget = forms.Select(choices=[(zone, zone) for zone in list_zones()], attrs=own)
        for name in ("html", "metadata", "headers"):
            self.fields[name].widget.attrs |= {"spellcheck": "false"}
        for name in ("metadata", "headers"):
            self.fields[name].widget.attrs |= {"rows": 3}

    def build_submission(self) -> Submission:
        """Return the submission. Of the fields that need nothing, only those that are filled in are part of it."""
        always = ("sender", "recipient", "subject", "content")
        typed = {name: value for name, value in self.cleaned_data.items() if name != "idempotency_key"}
        zone = typed.pop("time_zone") or "UTC"
        fields = {name: value for name, value in typed.items() if value or name in always}
        fields |= {name: join_zone(fields[name], zone) for name in _TIMES if name in fields}
        if self.attachments:
            fields["attachments"] = [row.submitted for row in self.attachments]
        # Without the field there is no key, which differs from a blank one.
        key = str(self.cleaned_data["idempotency_key"]) if "idempotency_key" in self.data else None
        return Submission(fields=fields, idempotency_key=key)

    def show_refusal(self, refused: Refused) -> None:
        """Show why intake refused the email: errors of fields and files next to them, others above the form."""
        if sentence := _ABOUT_KEYS.get(refused.reason):
            self.add_error(None, sentence)
            return
        for error in refused.errors:
            if error.field == "attachments":
                self._show_attachment_error(error)
                continue
            name = _FIELD_OF.get(error.field, error.field)
            self.add_error(name if name in self.fields else None, _name_entry(error))

    def _show_attachment_error(self, error: InvalidField) -> None:
        number = error.path[0] if error.path else ""
        if number.isdecimal() and int(number) < len(self.attachments):
            self.attachments[int(number)].errors.append(error.detail)
        else:
            self.attachment_errors.append(error.detail)

    def with_new_key(self) -> "SubmitForm":
        """Return the form with a fresh idempotency key, because a corrected email is a new one.

        A field that is too long to show again is emptied, with an error: half a body must not be sent by mistake.
        """
        shown = dict(self.data.items()) | {"idempotency_key": str(uuid.uuid4())}
        for name in self.fields:
            longest = LONGEST_BODY_REPEATED if name in _BODIES else LONGEST_REPEATED
            if len(str(shown.get(name, ""))) > longest:
                shown[name] = ""
                self.add_error(name, "Too long to show again; paste it once more.")
        self.data = shown
        return self

    @property
    def main_fields(self) -> list[forms.BoundField]:
        """Return the fields that an email usually has, apart from its bodies."""
        return [self[name] for name in ("sender", "recipient", "cc", "bcc", "reply_to", "subject")]

    @property
    def bodies(self) -> list[forms.BoundField]:
        """Return text and HTML."""
        return [self[name] for name in _BODIES]

    @property
    def more_fields(self) -> list[forms.BoundField]:
        """Return the fields that few emails need."""
        return [self[name] for name in self.more]

    @property
    def has_more(self) -> bool:
        """Return True if one of those is filled in, or wrong."""
        return any(field.value() or field.errors for field in self.more_fields)

    @property
    def later_fields(self) -> list[forms.BoundField]:
        """Return the fields that say when it is sent."""
        return [self[name] for name in self.later]

    @property
    def has_later(self) -> bool:
        """Return True if a time is filled in, or wrong."""
        return any(self[name].value() or self[name].errors for name in _TIMES)

    @property
    def error_list(self) -> list[tuple[str, str, str]]:
        """Return the errors for the summary: id of the field, its label, the first sentence; the whole error if it has no field."""
        listed: list[tuple[str, str, str]] = []
        for name, errors in self.errors.items():
            if name not in self.fields:
                listed += [("", "", str(error)) for error in errors]
                continue
            target, label = str(self[name].id_for_label), str(self.fields[name].label)
            listed += [(target, label, _cut(error)) for error in errors]
        listed += [("id_attachments", "Attachments", _cut(error)) for error in self.attachment_errors]
        for number, row in enumerate(self.attachments, 1):
            listed += [(f"attachment-{number}", row.filename, _cut(error)) for error in row.errors]
        return listed


def _name_entry(error: InvalidField) -> str:
    """Return the words of an error, with the name of the header, or the number of the item, that they are about."""
    if not error.path or error.path[-1] in error.detail:
        return error.detail
    entry = error.path[0]
    return f"{f'No. {int(entry) + 1}' if entry.isdecimal() else entry}: {error.detail}"


def _cut(error: object) -> str:
    """Return the first sentence of an error, without its full stop."""
    return str(error).partition(". ")[0].rstrip(".")


def _describe_senders(senders: list[str]) -> str:
    if "*" in senders:
        return "You may send as any address."
    domains = [sender for sender in senders if sender.startswith("@")]
    return f"You may send as any address at {', '.join(domains)}." if domains else "Your allowed sender addresses."
