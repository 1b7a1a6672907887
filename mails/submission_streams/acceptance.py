"""Hand records to intake, and say what became of each."""

from collections.abc import Sequence
from typing import assert_never

import structlog
from django.db import Error

from mails.access import rate_limits
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.receipts import IDEMPOTENCY_KEY, NotStored, Receipt, RefusalReason, Refused, Stored
from mails.intake.submission import Submission
from mails.models import ApiKey
from mails.states import Source
from mails.submission_streams import records
from mails.submission_streams.records import Rejection, StreamRecord
from mercury.lib import rates
from mercury.lib.rest.problems import FieldError, build_pointer
from mercury.lib.storages.errors import StorageUnavailable
from mercury.lib.value import value

log = structlog.get_logger(__name__)

AGAIN_AFTER = 1.0  # seconds, where a refusal does not say
_FOR_NOW = (RefusalReason.LIMIT_REACHED, RefusalReason.KEY_IN_USE)


@value
class Accepted:
    """The record is an email now. `is_new`: not one that was stored before."""

    is_new: bool


@value
class Later:
    """The record may be accepted after these seconds: nothing is wrong with it."""

    seconds: float
    reason: str


Outcome = Accepted | Later | Rejection


def accept_records(given: Sequence[StreamRecord], key: ApiKey) -> list[Outcome]:
    """Store the emails of these records as those of the key, and return what became of each, in order.

    All of them may have to wait for the key's rate. Raises a database error or StorageUnavailable: then any may be stored, and
    to hand them over again is safe.
    """
    if waits := _wait_for_rate(key, len(given)):
        return [waits] * len(given)
    read = [records.read(record) for record in given]
    receipts = iter(_accept([item for item in read if isinstance(item, Submission)], key))
    return [next(receipts) if isinstance(item, Submission) else item for item in read]


def count_at_once(key: ApiKey) -> int | None:
    """Return how many records fit the key's rate at once; None: any number."""
    rate = rates.parse_rate(key.rate)
    return int(rate.number) if rate else None


def _wait_for_rate(key: ApiKey, count: int) -> Later | None:
    if not key.rate:
        return None
    status = rate_limits.count_write(key, writes=count)
    if status.allowed:
        return None
    return Later(seconds=status.reset_after, reason=f"The rate of the API key is used up ({key.rate}).")


def _accept(submissions: Sequence[Submission], key: ApiKey) -> list[Outcome]:
    """Accept them together. Search by halves for one that makes intake fail, so that it stops no other."""
    if not submissions:
        return []
    try:
        receipts = accept(submissions, client=Client(source=Source.STREAM, api_key=key))
    except (Error, StorageUnavailable):
        raise
    except Exception:
        if len(submissions) == 1:
            log.exception("submission_failed")
            return [_fail()]
        middle = len(submissions) // 2
        return [*_accept(submissions[:middle], key), *_accept(submissions[middle:], key)]
    return [_judge(receipt) for receipt in receipts]


def _judge(receipt: Receipt) -> Outcome:
    match receipt:
        case Stored(replayed=replayed):
            return Accepted(is_new=not replayed)
        case Refused(reason=reason) if reason in _FOR_NOW:
            return Later(seconds=receipt.retry_after or AGAIN_AFTER, reason=receipt.detail)
        case Refused():
            return Rejection(code=receipt.reason, detail=receipt.detail, errors=_list_errors(receipt))
        case NotStored():
            return _fail()
        case never:
            assert_never(never)


def _list_errors(refused: Refused) -> tuple[FieldError, ...]:
    if not refused.errors:
        return (FieldError(detail=refused.detail, code=refused.reason),)
    fields = {IDEMPOTENCY_KEY: records.KEY}
    return tuple(
        FieldError(
            detail=error.detail,
            code=error.code,
            pointer=build_pointer(fields.get(error.field, error.field), *error.path),
        )
        for error in refused.errors
    )


def _fail() -> Rejection:
    detail = "Mercury could not store this email. Its log says why."
    return Rejection(code="not_stored", detail=detail, errors=(FieldError(detail=detail, code="not_stored"),))
