"""The recipients of an email on the page that reprocesses it: each in a field, to be corrected or emptied, or with a box."""

from typing import Any, cast

from django.contrib.auth.models import User
from django.http import HttpRequest, QueryDict

from mails.actions import recipients
from mails.actions.errors import ChangesRefused
from mails.intake.client import Client
from mails.lifecycle.recipient_changes import NO_CHANGES, RecipientChanges
from mails.message import addresses
from mails.message.addresses import InvalidAddress
from mails.message.message import Mailbox
from mails.models import Mail, Recipient
from mails.states import RecipientState, Source
from mercury.lib.mail.printable import replace_unprintable

_NOTE = "Correct the address to replace it, or empty the field to leave it out."


def make_client(request: HttpRequest) -> Client:
    """Return the operator as a client: they may name new recipients of senders that they may send as."""
    return Client(source=Source.FORM, user=cast(User, request.user))


def make_fields(request: HttpRequest, mail: Mail) -> list[dict[str, Any]]:
    """Return a field for each recipient that the email was not accepted for, with what was typed."""
    return [
        {
            "name": _name(recipient),
            "label": recipient.get_kind_display(),
            "value": replace_unprintable(_read_typed(request, recipient)),
            "note": _NOTE,
            "length": addresses.MAX_ADDRESS,
        }
        for recipient in _list_open(mail)
    ]


def make_boxes(request: HttpRequest, mail: Mail) -> list[dict[str, Any]]:
    """Return a box for each recipient that the email was accepted for, to be ticked to send it to them once more."""
    typed = _read(request)
    return [
        {
            "name": _name_again(recipient),
            "label": f"Send it once more to {replace_unprintable(recipient.address)}",
            "note": "A provider accepted it already for this address, so it does not get it again unless you tick this.",
            "checked": _name_again(recipient) in typed,
        }
        for recipient in _list_accepted(mail)
    ]


def list_typed(request: HttpRequest, mail: Mail) -> dict[str, str]:
    """Return the fields that were changed, for the URL of the page that shows another forecast."""
    fields = {_name(recipient): _read_typed(request, recipient) for recipient in _list_open(mail)}
    before = {_name(recipient): recipient.address for recipient in _list_open(mail)}
    again = {
        _name_again(recipient): "on" for recipient in _list_accepted(mail) if _name_again(recipient) in _read(request)
    }
    return {name: typed for name, typed in fields.items() if typed != before[name]} | again


def read_changes(request: HttpRequest, mail: Mail) -> tuple[RecipientChanges, list[str]]:
    """Return what the posted fields change, and the errors in them, each a sentence."""
    replaced, dropped, errors = list[tuple[str, Mailbox]](), list[str](), list[str]()
    for recipient in _list_open(mail):
        typed = _read_typed(request, recipient)
        try:
            if not typed:
                dropped.append(recipient.address)
            elif (address := addresses.normalize(typed)) != recipient.address:
                replaced.append((recipient.address, Mailbox(address=address, name=recipient.name)))
        except InvalidAddress as invalid:
            errors.append(f"{replace_unprintable(typed)}: {invalid}")
    again = [recipient.address for recipient in _list_accepted(mail) if _name_again(recipient) in _read(request)]
    changes = RecipientChanges(replaced=tuple(replaced), dropped=tuple(dropped), again=tuple(again))
    if errors or not changes:
        return NO_CHANGES, errors
    try:
        recipients.check(mail, changes, make_client(request))
    except ChangesRefused as refused:
        return NO_CHANGES, [replace_unprintable(detail) for _, detail in refused.errors]
    return changes, []


def _list_open(mail: Mail) -> list[Recipient]:
    return [recipient for recipient in mail.recipients.all() if recipient.state != RecipientState.ACCEPTED]


def _list_accepted(mail: Mail) -> list[Recipient]:
    return [recipient for recipient in mail.recipients.all() if recipient.state == RecipientState.ACCEPTED]


def _read(request: HttpRequest) -> QueryDict:
    """Return what was typed, here or before the accounts were changed."""
    return request.POST if request.method == "POST" else request.GET


def _read_typed(request: HttpRequest, recipient: Recipient) -> str:
    return _read(request).get(_name(recipient), recipient.address).strip()[: addresses.MAX_ADDRESS]


def _name_again(recipient: Recipient) -> str:
    return f"again-{recipient.pk}"


def _name(recipient: Recipient) -> str:
    return f"recipient-{recipient.pk}"
