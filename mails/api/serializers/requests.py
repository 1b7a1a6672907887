"""What a client sends: an event to append, and actions on an email. Each field is declared once, with its rule."""

import datetime as dt
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from mails.actions import rules
from mails.actions.errors import TimesNotAllowed
from mails.actions.rules import MAX_NOTE
from mails.intake.address_fields import RecipientsField
from mails.intake.submission_fields import MomentField
from mails.lifecycle.action_requests import EVERY_ACCOUNT, MAX_NAME, AccountChoice
from mails.lifecycle.recipient_changes import NO_CHANGES, RecipientChanges
from mails.message.message import Mailbox
from mails.schedule import Schedule
from mails.states import RESOLVING, Action, EventName, RecipientKind
from mercury.lib.durations import format_size
from mercury.lib.mail import printable
from mercury.lib.mail.printable import replace_unprintable
from mercury.lib.rest.serializers import (
    StrictBooleanField,
    StrictCharField,
    StrictChoiceField,
    StrictField,
    StrictSerializer,
)

MAX_EVENT = 64  # characters of an event's name, CONTRACT v1.0
MAX_BLOB = 64 * 1024  # bytes of UTF-8
MAX_ACCOUNTS = 16  # that a reprocess names


class EventNameField(StrictCharField):
    """The name of a client's event."""

    default_error_messages = {
        "required": "Give the event's name.",
        "invalid": "The name must be text.",
        "length": f"The name has {{length}} characters; 1 to {MAX_EVENT} are allowed.",
        "control": "The name contains a control character; remove it.",
        "space": "The name begins or ends with a space; remove it.",
    }

    def to_internal_value(self, data: Any) -> str:
        """Return the name."""
        if data is None:
            self.fail("required")
        name = super().to_internal_value(data)
        if not 1 <= len(name) <= MAX_EVENT:
            raise _build_error(self.error_messages["length"].format(length=len(name)))
        if printable.find_unprintable(name):
            raise _build_error(self.error_messages["control"])
        if name != name.strip():
            raise _build_error(self.error_messages["space"])
        return name


class BlobField(StrictCharField):
    """The further text of an event."""

    default_error_messages = {
        "invalid": 'The blob must be text; write JSON as text, for example "{{\\"status_code\\": 202}}".',
        "too_long": f"The blob has {{size}}; at most {format_size(MAX_BLOB)} fit.",
    }

    def to_internal_value(self, data: Any) -> str:
        """Return the blob."""
        blob = super().to_internal_value(data)
        if len(blob.encode()) > MAX_BLOB:
            raise _build_error(self.error_messages["too_long"].format(size=format_size(len(blob.encode()))))
        return blob


class NewEventSerializer(StrictSerializer):
    """An event to append. Only `event` is needed; the server fills in the rest."""

    event = EventNameField(
        min_length=1, max_length=MAX_EVENT, help_text="Its name, 1 to 64 characters.", style={"example": "READ BY HERA"}
    )
    blob = BlobField(
        max_length=MAX_BLOB,
        required=False,
        allow_null=True,
        help_text="Text of at most 64 kB, usually JSON.",
        style={"example": ""},
    )

    ignored = ("created", "created_at", "created_by", "id", "mail", "mail_id", "url")
    problem = ("invalid_event", "The event was not recorded; see errors.")


class NoteField(StrictCharField):
    """The reason that an event keeps."""

    default_error_messages = {
        "invalid": "The reason must be text.",
        "too_long": f"The reason has {{length}} characters; at most {MAX_NOTE} fit.",
        "control": "The reason contains a control character; remove it.",
    }

    def to_internal_value(self, data: Any) -> str:
        """Return the reason."""
        note = super().to_internal_value(data)
        if len(note) > MAX_NOTE:
            raise _build_error(self.error_messages["too_long"].format(length=len(note)))
        if replace_unprintable(note) != note:
            raise _build_error(self.error_messages["control"])
        return note.strip()


class AccountNameField(StrictCharField):
    """The name of an account."""

    default_error_messages = {"invalid": f"The account's name must be text of 1 to {MAX_NAME} characters."}

    def to_internal_value(self, data: Any) -> str:
        """Return the name."""
        name = super().to_internal_value(data)
        if not 0 < len(name) <= MAX_NAME or replace_unprintable(name) != name:
            self.fail("invalid")
        return name


class ActionSerializer(StrictSerializer):
    """What an action on an email takes: a reason."""

    action: ClassVar[Action | None] = None
    note = NoteField(
        max_length=MAX_NOTE,
        required=False,
        allow_null=True,
        help_text="The reason, up to 500 characters; the event keeps it.",
        style={"example": "Hera asked for it."},
    )

    problem = ("invalid_action", "Nothing was done; see errors.")

    @property
    def requested_action(self) -> Action:
        """Return the action that the valid request asks for."""
        return self.action or Action(self.validated_data["outcome"])

    @property
    def account_choice(self) -> AccountChoice:
        """Return the accounts through which the email is sent again."""
        return EVERY_ACCOUNT

    @property
    def times(self) -> Schedule | None:
        """Return when the email is sent and expires, where the request names it."""
        return None

    @property
    def recipients(self) -> RecipientChanges:
        """Return the changes of its recipients."""
        return NO_CHANGES

    @property
    def expiry(self) -> dt.datetime | None:
        """Return when the email expires, where that alone is named."""
        return None


class CancelMailSerializer(ActionSerializer):
    """A request to cancel."""

    action = Action.CANCEL


class HoldMailSerializer(ActionSerializer):
    """A request to hold."""

    action = Action.HOLD


class ReleaseMailSerializer(ActionSerializer):
    """A request to release."""

    action = Action.RELEASE


class OneMailboxField(RecipientsField):
    """One address, as text or as an object with `email` and `name`."""

    default_error_messages = {"one": "Give one address."}

    def to_internal_value(self, data: Any) -> Any:
        """Return the mailbox."""
        found = super().to_internal_value([data])
        return found[0]


@extend_schema_field({"type": "object", "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "object"}]}})
class ReplaceField(StrictField):
    """Recipients that are replaced: an object of old addresses and new ones."""

    default_error_messages = {
        "invalid": 'Write an object of old and new addresses: {{"hera@olimpus.con": "hera@olimpus.com"}}.',
        "too_many": "{count} addresses; at most {most} are allowed.",
    }

    def to_internal_value(self, data: Any) -> tuple[tuple[str, Mailbox], ...]:
        """Return pairs of the old address and the new mailbox. Raises ValidationError by old address."""
        if not isinstance(data, dict):
            self.fail("invalid")
        if len(data) > (most := settings.MERCURY_MAX_RECIPIENTS):
            self.fail("too_many", count=len(data), most=most)
        read, found, errors = OneMailboxField(), list[tuple[str, Mailbox]](), dict[str, Any]()
        for old, new in data.items():
            try:
                found.append((read.to_internal_value(old).address, read.to_internal_value(new)))
            except ValidationError as invalid:
                errors[replace_unprintable(old[:80])] = invalid.detail
        if errors:
            raise ValidationError(errors)
        return tuple(found)


class AccountNamesField(StrictField, serializers.ListField):
    """Names of accounts."""

    default_error_messages = {"invalid": "Write a list of the names of 1 to 16 accounts.", "twice": "Name each once."}

    def to_internal_value(self, data: Any) -> tuple[str, ...]:
        """Return the names."""
        if not isinstance(data, list) or not 1 <= len(data) <= MAX_ACCOUNTS:
            self.fail("invalid")
        names = tuple(AccountNameField().to_internal_value(name) for name in data)
        if any("," in name for name in names):
            self.fail("invalid")
        return tuple(dict.fromkeys(names))


class ReprocessMailSerializer(ActionSerializer):
    """A request to reprocess, through all accounts or some, to the same recipients or others."""

    action = Action.REPROCESS
    via = AccountNameField(
        min_length=1, max_length=MAX_NAME, required=False, allow_null=True, help_text="Only through this account."
    )
    not_tried = StrictBooleanField(
        required=False,
        allow_null=True,
        help_text="Only through accounts that have no attempt of this email on record. Not together with `via`.",
        error_messages={"invalid": "Write true or false."},
    )
    accounts = AccountNamesField(
        child=serializers.CharField(max_length=MAX_NAME),
        required=False,
        allow_null=True,
        help_text="Only through these accounts, up to 16. Not together with `via` or `not_tried`.",
    )
    replace = ReplaceField(
        required=False,
        allow_null=True,
        help_text="Recipients to replace: an object of old addresses and new ones, in the forms of an email's `recipient`.",
    )
    drop = RecipientsField(required=False, help_text="Recipients to leave out, in the forms of an email's `recipient`.")
    again = RecipientsField(
        required=False, help_text="Recipients that a provider accepted the email for, and that get it once more."
    )

    send_at = MomentField(help_text="When to send it, as in a submission. Default: now.")
    expires_at = MomentField(help_text="When Mercury stops trying. Default: as for a new email (`MERCURY_EXPIRY`).")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the values. Raises ValidationError if several of them name accounts, or if the times are not allowed."""
        self._planned = _plan_times(attrs) if attrs["send_at"] or attrs["expires_at"] else None
        named = [name for name in ("via", "accounts", "not_tried") if attrs.get(name)]
        if len(named) > 1:
            detail = "Name accounts, or ask for those not tried yet; not both."
            raise ValidationError({named[-1]: [detail]}, "invalid")
        return attrs

    @property
    def recipients(self) -> RecipientChanges:
        """Return the changes of the recipients."""
        values = self.validated_data
        return RecipientChanges(
            replaced=values.get("replace") or (),
            dropped=tuple(recipient.address for recipient in values.get("drop") or ()),
            again=tuple(recipient.address for recipient in values.get("again") or ()),
        )

    @property
    def times(self) -> Schedule | None:
        """Return when the email is sent and expires, if it is to be sent later."""
        return self._planned if self.validated_data["send_at"] else None

    @property
    def expiry(self) -> dt.datetime | None:
        """Return when the email expires, if the request names it."""
        return self.validated_data["expires_at"]  # type: ignore[no-any-return]

    @property
    def account_choice(self) -> AccountChoice:
        """Return the accounts through which the email is sent again."""
        return AccountChoice(
            not_tried=bool(self.validated_data.get("not_tried")),
            via=self.validated_data.get("via") or ",".join(self.validated_data.get("accounts") or ()),
        )


class CopyMailSerializer(StrictSerializer):
    """A request to send a copy. With any of its fields, these are all its recipients; without, those of the email."""

    recipient = RecipientsField(
        source="recipients", help_text="Who gets the copy, in the forms of an email's `recipient`."
    )
    cc = RecipientsField(kind=RecipientKind.CC, source="recipients", help_text="Who gets a copy of it.")
    bcc = RecipientsField(kind=RecipientKind.BCC, source="recipients", help_text="Who gets a blind copy of it.")

    aliases: ClassVar[Mapping[str, str]] = {"recipients": "recipient", "to": "recipient"}
    problem = ("invalid_copy", "Nothing was sent; see errors.")

    @property
    def given_recipients(self) -> dict[str, Any]:
        """Return the recipients as they were given, for intake; empty if the copy goes to those of the email."""
        return {name: self.initial_data[name] for name in self.names if self.initial_data.get(name)}


class RescheduleMailSerializer(ActionSerializer):
    """A request to send at another time."""

    action = Action.RESCHEDULE
    send_at = MomentField(
        required=True,
        help_text="When to send it, as in a submission. A time that is past by up to 5 minutes means now.",
        style={"example": "2026-12-24T18:00:00Z"},
    )
    expires_at = MomentField(
        help_text="When Mercury stops trying. Default: 3 days after `send_at` (`MERCURY_EXPIRY`), whatever it was before."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the values. Raises ValidationError if the times are not allowed."""
        if not attrs["send_at"]:
            raise ValidationError({"send_at": ["Say when to send it, such as 2026-12-24T18:00:00Z."]}, "required")
        self._times = _plan_times(attrs)
        return attrs

    @property
    def times(self) -> Schedule | None:
        """Return when the email is sent and expires."""
        return self._times


class ResolveMailSerializer(ActionSerializer):
    """A request to resolve an unknown outcome."""

    outcome = StrictChoiceField(
        choices=[action.value for action in RESOLVING],
        help_text="What happened.",
        style={"example": Action.SENT.value},
        error_messages=dict.fromkeys(("required", "invalid"), "Say what happened: 'sent' or 'not-sent'."),
    )


def _plan_times(values: Mapping[str, Any]) -> Schedule:
    """Return when the email is sent and expires. Raises ValidationError if the times are not allowed."""
    try:
        return rules.plan_times(values["send_at"], values["expires_at"])
    except TimesNotAllowed as refused:
        errors = {error.field: [ErrorDetail(error.detail, error.code)] for error in refused.errors}
        raise ValidationError(errors) from None


def list_action_names(possible: Iterable[Action]) -> list[str]:
    """Return the actions as paths name them; to retry at once is for operators."""
    offered = [action for action in possible if action != Action.RETRY]
    return list(dict.fromkeys("resolve" if action in RESOLVING else str(action) for action in offered))


def is_system_event(name: str) -> bool:
    """Return True for a name of the sending model or of Mercury's own, which needs the scope `events:system`."""
    return name in EventName.values


def _build_error(detail: object) -> ValidationError:
    return ValidationError([str(detail)], "invalid")
