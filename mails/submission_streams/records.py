"""A record of a stream: which submission it is, or why it is none. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from django.conf import settings

from mails.intake import idempotency
from mails.intake.receipts import IDEMPOTENCY_KEY
from mails.intake.submission import Submission
from mercury.lib.durations import format_size
from mercury.lib.rest.problems import FieldError, build_pointer
from mercury.lib.rest.strict_json import NotStrictJSON, loads
from mercury.lib.value import value

KEY = "idempotency_key"  # of an email, as in a batch
KEY_HEADER = IDEMPOTENCY_KEY.lower()
MAX_ERRORS = 20  # that a dead letter names


@value
class StreamRecord:
    """A record as it was read. `headers`: their names in lower case. `position`: its place, the same whoever reads it.

    `origin`: the place in parts, for people and programs. `handle`: what its source needs to acknowledge or reject it.
    """

    value: bytes | None
    position: str
    origin: Mapping[str, Any]
    headers: Mapping[str, str]
    handle: Any


@value
class Rejection:
    """Why a record will never be an email."""

    code: str
    detail: str
    errors: tuple[FieldError, ...] = ()

    def encode(self) -> bytes:
        """Return it as JSON."""
        errors = [error.to_json() for error in self.errors[:MAX_ERRORS]]
        return orjson.dumps({"code": self.code, "detail": self.detail, "errors": errors})


@value
class DeadLetter:
    """A record that is rejected, and why."""

    record: StreamRecord
    rejection: Rejection


def read(record: StreamRecord) -> Submission | Rejection:
    """Return the submission in a record: the JSON of an email, alone or as the data of a CloudEvent.

    Its idempotency key is that of the header, of the field, or of the CloudEvent; else it follows from its place.
    """
    body = record.value
    if not body:
        return _reject("empty", "The record has no value. Write the JSON of one email into it.")
    if len(body) > (most := settings.DATA_UPLOAD_MAX_MEMORY_SIZE):
        return _reject(
            "too_large", f"The record has {format_size(len(body))}; at most {format_size(most)} are allowed."
        )
    try:
        fields: Any = loads(body)
    except NotStrictJSON as invalid:
        error = FieldError(detail=invalid.detail, code=invalid.code, pointer=invalid.pointer)
        return _reject(error.code, error.describe(), error)
    event = record.headers
    if "specversion" in fields:
        event, fields = {f"ce_{name}": str(fields.get(name, "")) for name in ("id", "source")}, fields.get("data")
    if not isinstance(fields, dict):
        error = FieldError(
            detail="It must be an object with the fields of an email.", code="not_an_object", pointer="/data"
        )
        return _reject(error.code, error.describe(), error)
    key: Any = record.headers.get(KEY_HEADER, fields.get(KEY))
    if key is None:
        key = _make_key(f"{event.get('ce_source', '')}#{event['ce_id']}" if event.get("ce_id") else record.position)
    if not isinstance(key, str):
        error = FieldError(detail="It must be text.", code="invalid_idempotency_key", pointer=build_pointer(KEY))
        return _reject(error.code, error.describe(), error)
    return Submission(fields={name: field for name, field in fields.items() if name != KEY}, idempotency_key=key)


def _make_key(text: str) -> str:
    """Return an idempotency key that is the same for the same text alone."""
    if not idempotency.explain_invalid(text):
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _reject(code: str, detail: str, *errors: FieldError) -> Rejection:
    return Rejection(code=code, detail=detail, errors=errors or (FieldError(detail=detail, code=code),))
