"""The contents of claimed emails: read after the claim's commit, so that no lock waits for bodies on their way."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from django.db import Error, connection

from mails.dispatch import attachments, local_trouble
from mails.dispatch.due.claim import ClaimedMail
from mails.dispatch.steps.transitions import Call, Result
from mails.message.message import Message, MessageRecipient
from mails.models import FileContent
from mails.states import NEVER_CALLED
from mercury.lib.database import recordset
from mercury.lib.database.database_errors import classify, is_temporary
from mercury.lib.database.recordset import as_json
from providers.outcomes import Cause, NotAttempted

log = structlog.get_logger(__name__)

_Row = Mapping[str, Any]


def load_messages(calls: Sequence[Call]) -> tuple[list[Call], list[Result]]:
    """Return the calls with their messages, and a result for each that cannot be made. One query, in no transaction."""
    if not calls:
        return [], []
    try:
        rows = _read_contents([call.mail.id for call in calls])
    except MemoryError as error:
        log.warning("contents_not_loaded", error=type(error).__name__, calls=len(calls))
        return [], [Result(call=call, outcome=local_trouble.build_outcome(error), latency=0.0) for call in calls]
    except Error as error:
        log.warning("contents_not_loaded", error=classify(error), calls=len(calls))
        return _load_each(calls, error)
    return _find_files(*_build_messages(calls, rows))


def _build_messages(calls: Sequence[Call], rows: Mapping[int, _Row]) -> tuple[list[Call], list[Result]]:
    loaded, not_made = [], []
    for number, call in enumerate(calls):
        try:
            loaded.append(call._replace(message=_build_message(call.mail, rows[number])))
        except Exception:  # an email that we fail at must not end the calls of the others
            log.exception("message_not_loaded", mail=str(call.mail.id))
            not_made.append(_give_up(call))
    return loaded, not_made


def _find_files(calls: Sequence[Call], not_made: list[Result]) -> tuple[list[Call], list[Result]]:
    """Add to each call where the contents of its attachments are, and to the results each call that lacks one.

    One query, and none if no email has attachments.
    """
    hashes = {file.sha256 for call in calls if call.message for file in call.message.attachments}
    if not hashes:
        return list(calls), not_made
    locations = dict(FileContent.objects.filter(pk__in=hashes).values_list("pk", "location"))
    found = []
    for call in calls:
        own = {file.sha256 for file in call.message.attachments} if call.message else set()
        if own <= locations.keys():
            found.append(call._replace(locations={sha256: locations[sha256] for sha256 in own}))
        else:
            not_made.append(Result(call=call, outcome=attachments.build_missing(), latency=0.0))
    return found, not_made


def _load_each(calls: Sequence[Call], error: Error) -> tuple[list[Call], list[Result]]:
    """Return all emails to the queue if the database is at fault; else load each alone, and give up the one that is."""
    if is_temporary(error):
        words = "The database failed before the message was loaded, so no request was made."
        outcome = NotAttempted(cause=Cause.WORKER, reason_code=NEVER_CALLED, reason=words)
        return [], [Result(call=call, outcome=outcome, latency=0.0) for call in calls]
    if len(calls) == 1:
        return [], [_give_up(calls[0])]
    parts = [load_messages([call]) for call in calls]
    return [call for loaded, _ in parts for call in loaded], [result for _, not_made in parts for result in not_made]


def _give_up(call: Call) -> Result:
    words = "Mercury failed to load the message, so it made no request."
    outcome = NotAttempted(cause=Cause.EMAIL, reason_code=NEVER_CALLED, reason=words)
    return Result(call=call, outcome=outcome, latency=0.0)


def _read_contents(mail_ids: Sequence[uuid.UUID]) -> dict[int, _Row]:
    """Return the contents of these emails, by their places among the ids, which are read faster than UUIDs."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            SELECT r.number, mail.subject, content.text, content.html, content.other_fields
            FROM {recordset.source("r", {"id": "uuid", "number": "int"})}
            JOIN mails_mail AS mail ON mail.id = r.id JOIN mails_content AS content ON content.mail_id = mail.id
            """,  # noqa: S608 (names of our own columns)
            [recordset.encode({"id": mail_id, "number": number} for number, mail_id in enumerate(mail_ids))],
        )
        return {
            number: {
                "subject": subject,
                "text": text,
                "html": html,
                "other_fields": other_fields,
            }
            for number, subject, text, html, other_fields in cursor.fetchall()
        }


def _build_message(mail: ClaimedMail, row: _Row) -> Message:
    recipients = tuple(
        MessageRecipient(kind=recipient.kind, name=recipient.name, address=recipient.address)
        for recipient in mail.recipients
    )
    other_fields = as_json(row["other_fields"]) if row["other_fields"] else None
    return Message.from_stored(sender=mail.sender, recipients=recipients, **{**row, "other_fields": other_fields})
