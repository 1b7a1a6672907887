"""Reprocess one email with changed recipients: they keep every rule that an email keeps at intake."""

import uuid

from django.db import transaction

from mails.access import key_limits
from mails.actions.errors import ActionNotAllowed, ChangesRefused
from mails.intake.client import Client
from mails.intake.copies import NAMES
from mails.intake.judge import Judge
from mails.intake.limits import build_refusal
from mails.intake.receipts import RefusalReason, Refused
from mails.intake.submission import Submission
from mails.lifecycle import action_execution, action_requests
from mails.lifecycle.action_execution import ActionResult
from mails.lifecycle.action_requests import ActionRequest
from mails.lifecycle.recipient_changes import RecipientChanges
from mails.message import mime
from mails.message.message import Message
from mails.models import Mail
from mails.states import DeliveryGuarantee, Status


def carry_out(action_request: ActionRequest, mail_id: uuid.UUID, client: Client | None) -> ActionResult:
    """Check the changes, count their recipients towards the limits of the client's key, and reprocess the email.

    One transaction: what is not reprocessed changes nothing and counts nothing. `client`: who asks, and as whom it may
    send; None: nobody may. Raises ChangesRefused, and ActionNotAllowed.
    """
    changes = action_request.recipients
    with transaction.atomic():
        mail = Mail.objects.filter(pk=mail_id).prefetch_related("recipients").first()
        if mail is None:
            return ActionResult(impossible={mail_id})
        allowed = action_requests.list_actions(mail)
        if action_request.action not in allowed:
            raise ActionNotAllowed(mail, action_request.action, allowed)
        check(mail, changes, client)
        if client is not None:
            _take_limits(client, changes.deliveries)
        result = action_execution.carry_out(action_request, [mail])
        if not result.done:
            transaction.set_rollback(True)
    return result


def check(mail: Mail, changes: RecipientChanges, client: Client | None) -> None:
    """Raise ChangesRefused if the recipients of this email, loaded with them, cannot be changed so."""
    if mail.possible_duplicate and mail.delivery_guarantee == DeliveryGuarantee.AT_MOST_ONCE:
        raise ChangesRefused(409, "outcome_unknown", [("", _UNKNOWN)])
    errors = changes.find_errors(list(mail.recipients.all()), reopened=mail.status == Status.DISCARDED)
    if errors:
        raise ChangesRefused(400, "invalid_action", [(error.field, error.detail) for error in errors])
    if client is None:
        raise ChangesRefused(403, RefusalReason.SENDER_NOT_ALLOWED, [("", "Nobody is named who may send this email.")])
    message = changes.change(mime.read_message(mail))
    refused = Judge(client).judge(Submission(fields=_build_fields(message))).refused
    if refused is not None:
        field = "replace" if changes.replaced else "drop"
        raise ChangesRefused(refused.reason.status, _name_code(refused), _list_errors(refused, field))


_UNKNOWN = (
    "The outcome of an attempt is unknown, and this email must not be sent twice: its recipients cannot be changed. "
    "Hold it and resolve it, or send a copy once it has ended."
)


def _build_fields(message: Message) -> dict[str, object]:
    """Return sender and recipients as a submission has them: what else it has was judged when it came in."""
    fields: dict[str, object] = {"sender": message.sender}
    for kind, name in NAMES.items():
        fields[name] = [
            {"email": recipient.address, "name": recipient.name}
            for recipient in message.recipients
            if recipient.kind == kind
        ]
    return fields


def _take_limits(client: Client, deliveries: int) -> None:
    """Count recipients that get the email again towards the limits of the key. Raises ChangesRefused."""
    key = client.api_key
    if key is None or not key.has_limits or not deliveries:
        return
    taken = key_limits.take(key, [deliveries], emails=0)
    if (name := taken.exceeded[0]) is not None:
        refused = build_refusal(name, taken.statuses, deliveries)
        raise ChangesRefused(
            refused.reason.status, refused.reason, [("", refused.detail)], retry_after=refused.retry_after
        )


def _name_code(refused: Refused) -> str:
    return "invalid_action" if refused.reason == RefusalReason.INVALID_MAIL else str(refused.reason)


def _list_errors(refused: Refused, field: str) -> list[tuple[str, str]]:
    if refused.reason != RefusalReason.INVALID_MAIL:
        return [("", refused.detail)]
    return [(field, f"{error.place}: {error.detail}") for error in refused.errors]
