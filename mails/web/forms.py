"""The form that submits an email. It has no rules of its own: intake validates what is typed."""

import uuid
from typing import Any

from django import forms
from django.conf import settings

from mails.intake.client import is_sender_allowed
from mails.intake.receipts import RefusalReason, Refused
from mails.intake.submission import Submission, get_field
from mails.message.addresses import extract_address

LONGEST_REPEATED = 100_000  # characters of a field that a rejected form shows again
_FIELD_OF = {"recipients": "recipient"}  # field of the submission -> field of the form
_ABOUT_KEYS = {
    RefusalReason.INVALID_KEY: "The form lost its protection against sending twice. Press Send again.",
    RefusalReason.KEY_REUSED: "Already sent with different content. Press Send to send it as a new email.",
    RefusalReason.KEY_IN_USE: "Already being sent; check My emails before you send it again.",
}


class SubmitForm(forms.Form):
    """From, To, Subject, Message, and a hidden idempotency key that makes a double submit harmless."""

    sender = forms.CharField(label=get_field("sender").label, required=False)
    recipient = forms.CharField(label=get_field("recipient").label, required=False)
    subject = forms.CharField(label=get_field("subject").label, required=False)
    content = forms.CharField(
        label=get_field("content").label, required=False, strip=False, widget=forms.Textarea(attrs={"rows": 10})
    )
    idempotency_key = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, senders: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
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
        self.fields["sender"].help_text = self._describe_senders(senders)
        self.fields["recipient"].help_text = (
            get_field("recipient").style["form_help"].format(max_recipients=settings.MERCURY_MAX_RECIPIENTS)
        )
        for name in ("sender", "recipient"):
            self.fields[name].widget.attrs |= {"autocomplete": "email", "spellcheck": "false"}
        self.fields["sender"].widget.attrs |= {"autocomplete": "off", "list": "senders"} if self.any_sender else {}
        for name in ("sender", "recipient", "subject", "content"):
            self.fields[name].widget.attrs |= {"data-mirrored": "", "aria-describedby": f"id_{name}_note"}

    def build_submission(self) -> Submission:
        """Return the submission. Browsers end lines with CR LF; the body is stored with LF."""
        text = self.cleaned_data["content"].replace("\r\n", "\n")
        fields = {name: self.cleaned_data[name] for name in ("sender", "recipient", "subject")} | {"content": text}
        # Without the field there is no key, which differs from a blank one.
        key = str(self.cleaned_data["idempotency_key"]) if "idempotency_key" in self.data else None
        return Submission(fields=fields, idempotency_key=key)

    def show_refusal(self, refused: Refused) -> None:
        """Show why intake refused the email: errors of fields next to their fields, others above the form."""
        if sentence := _ABOUT_KEYS.get(refused.reason):
            self.add_error(None, sentence)
            return
        for error in refused.errors:
            name = _FIELD_OF.get(error.field, error.field)
            self.add_error(name if name in self.fields else None, error.detail)

    def with_new_key(self) -> "SubmitForm":
        """Return the form with a fresh idempotency key, because a corrected email is a new one.

        A field that is too long to show again is emptied, with an error: half a body must not be sent by mistake.
        """
        shown = dict(self.data.items()) | {"idempotency_key": str(uuid.uuid4())}
        for name in self.fields:
            if len(str(shown.get(name, ""))) > LONGEST_REPEATED:
                shown[name] = ""
                self.add_error(name, "Too long to show again; paste it once more.")
        self.data = shown
        return self

    def _describe_senders(self, senders: list[str]) -> str:
        if "*" in senders:
            return "You may send as any address."
        domains = [sender for sender in senders if sender.startswith("@")]
        return f"You may send as any address at {', '.join(domains)}." if domains else "Your allowed sender addresses."

    @property
    def error_list(self) -> list[tuple[str, str, str]]:
        """Return the errors for the summary: id of the field, its label, the first sentence; the whole error if it has no field."""
        listed: list[tuple[str, str, str]] = []
        for name, errors in self.errors.items():
            if name not in self.fields:
                listed += [("", "", str(error)) for error in errors]
                continue
            target, label = str(self[name].id_for_label), str(self.fields[name].label)
            listed += [(target, label, str(error).partition(". ")[0].rstrip(".")) for error in errors]
        return listed
