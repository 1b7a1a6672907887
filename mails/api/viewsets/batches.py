"""Many emails in one request. Each is judged alone; those that are accepted are stored in one transaction."""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from django.contrib.auth.models import User
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from mails.access import throttles
from mails.access.key_limits import LimitStatus
from mails.api.parsers import BatchParser
from mails.api.serializers.batches import BatchResultsSerializer, BatchSerializer, SubmissionInBatchSerializer
from mails.api.serializers.mails import KEY_PARAMETER, build_mail_api_url
from mails.api.viewsets.base import OwnMailsViewSet, get_key, read_idempotency_key
from mails.intake import idempotency
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.receipts import (
    IDEMPOTENCY_KEY,
    InvalidField,
    NotStored,
    Receipt,
    RefusalReason,
    Refused,
    Stored,
)
from mails.intake.submission import Submission
from mails.states import Source
from mercury.lib.rest.openapi import describe_header
from mercury.lib.rest.problems import FieldError, Problem, build_pointer

MAX_MAILS = 1000  # of one batch, CONTRACT v1.0
MAX_ERRORS = 20  # of one email that an answer names; a thousand emails could have a hundred thousand
MAILS, KEY = "mails", "idempotency_key"
_OWN_KEY = 251  # characters of a key for the whole request: each email's is that with `/` and its number


class BatchActions(OwnMailsViewSet):
    """The action that submits a batch."""

    def get_extra_action_url_map(self) -> dict[str, str]:
        """Return nothing: the menu of these addresses has inline styles, which the Content-Security-Policy refuses."""
        return {}

    @extend_schema(
        request=PolymorphicProxySerializer(
            component_name="ListOrBatch",
            serializers=[SubmissionInBatchSerializer(many=True), BatchSerializer],
            resource_type_field_name=None,
            many=False,
        ),
        responses={202: BatchResultsSerializer, 207: BatchResultsSerializer},
        parameters=[
            KEY_PARAMETER,
            describe_header(
                "Retry-After", "Seconds to wait before emails with status 409 or 429 are sent again.", on=[207]
            ),
        ],
    )
    @action(
        detail=False,
        methods=["post"],
        serializer_class=BatchSerializer,
        parser_classes=[BatchParser],
        throttle_classes=[],  # it counts emails, once the body is read
    )
    def batch(self, request: Request) -> Response:
        """Create a batch of emails.

        Up to 1,000 emails, each judged alone: 202 if all are accepted, else 207 with a result for each, in order. Those
        accepted are stored together, and cannot be lost after the answer. The fields are those of an email, and
        `idempotency_key`. With an Idempotency-Key, emails without a key of their own get that one with `/` and their index.
        """
        items, steps = _read_items(request.data)
        whole_key = _read_whole_key(request)
        throttles.count_batch(request, len(items))
        given = [_read_submission(item, number, whole_key) for number, item in enumerate(items)]
        user = request.user if isinstance(request.user, User) else None
        client = Client(source=Source.API, api_key=get_key(request), user=user)
        accepted = accept([item for item in given if isinstance(item, Submission)], client=client)
        throttles.add_limits(request, _find_limits(accepted))
        receipts = iter(accepted)
        each = [next(receipts) if isinstance(item, Submission) else item for item in given]
        return _respond(request, each, steps)


def _read_items(body: Any) -> tuple[list[Any], tuple[str, ...]]:
    """Return the emails of the body, and the steps of a JSON pointer that lead to them. Raises Problem."""
    steps: tuple[str, ...] = ()
    if isinstance(body, dict):
        errors = [
            FieldError(
                detail=f"There is no such field here. Write one list of emails, as '{MAILS}'.",
                code="unknown_field",
                pointer=build_pointer(name[:80]),
            )
            for name in body
            if name != MAILS
        ]
        if errors:
            raise _build_invalid(errors[:MAX_ERRORS])
        body, steps = body.get(MAILS), (MAILS,)
    if not isinstance(body, list) or not body:
        detail = f'Send a list of emails, or {{"{MAILS}": [ … ]}}, with at least one.'
        code = "required" if body is None and steps else "not_a_batch"
        raise _build_invalid([FieldError(detail=detail, code=code, pointer=build_pointer(*steps))])
    if len(body) > MAX_MAILS:
        detail = f"The batch has {len(body):,} emails; at most {MAX_MAILS:,} are allowed. Nothing was stored."
        raise Problem(413, "too_many_mails", detail)
    return body, steps


def _build_invalid(errors: Sequence[FieldError]) -> Problem:
    return Problem(400, "invalid_batch", "Nothing of the batch was stored; see errors.", errors=errors)


def _read_whole_key(request: Request) -> str | None:
    """Return the Idempotency-Key of the request. Raises Problem if it is not one, or leaves no room for a number."""
    key = read_idempotency_key(request)
    if key is None:
        return None
    problem = idempotency.explain_invalid(key)
    if not problem and len(key) > _OWN_KEY:
        problem = f"It has {len(key)} characters; for a batch at most {_OWN_KEY} are allowed."
    if problem:
        error = FieldError(detail=problem, code=RefusalReason.INVALID_KEY, header=IDEMPOTENCY_KEY)
        raise Problem(400, error.code, error.describe(), errors=[error])
    return key


def _read_submission(item: Any, number: int, whole_key: str | None) -> Submission | Refused:
    """Return an email of the batch, or why it is none: then there is nothing to keep."""
    if not isinstance(item, dict):
        return _refuse("", "not_an_object", "It must be an object with the fields of an email.")
    key = item.get(KEY)
    if key is None:
        key = None if whole_key is None else f"{whole_key}/{number}"
    elif not isinstance(key, str):
        return _refuse(KEY, RefusalReason.INVALID_KEY, "It must be text.")
    fields = {name: value for name, value in item.items() if name != KEY} if KEY in item else item
    return Submission(fields=fields, idempotency_key=key)


def _refuse(field: str, code: str, detail: str) -> Refused:
    reason = RefusalReason.INVALID_KEY if field else RefusalReason.INVALID_MAIL
    return Refused(reason=reason, detail=detail, errors=(InvalidField(field=field, code=code, detail=detail),))


def _find_limits(receipts: Sequence[Receipt]) -> Sequence[LimitStatus]:
    """Return what is left of the limits of the key; they were counted once, for all emails."""
    return next((receipt.limits for receipt in receipts if not isinstance(receipt, NotStored) and receipt.limits), ())


def _respond(request: Request, receipts: Sequence[Receipt], steps: tuple[str, ...]) -> Response:
    base = build_mail_api_url(request, "")
    results = [_build_result(receipt, base, (*steps, str(number))) for number, receipt in enumerate(receipts)]
    statuses = [result["status"] for result in results]
    accepted = statuses.count(202)
    body = {"accepted": accepted, "refused": len(results) - accepted, "results": results}
    waits = [receipt.retry_after for receipt in receipts if isinstance(receipt, Refused) and receipt.retry_after]
    headers = {"Retry-After": str(max(waits))} if waits else None
    return Response(body, status=202 if accepted == len(results) else 207, headers=headers)


def _build_result(receipt: Receipt, base: str, place: tuple[str, ...]) -> dict[str, Any]:
    """Return what became of one email. `base`: of the URLs of emails; `place`: the steps to it in the body."""
    match receipt:
        case Stored(mail=mail, replayed=replayed):
            mail_id = str(mail.id)
            found = {"status": 202, "mail": mail_id, "url": f"{base}{mail_id}"}
            return found | {"replayed": True} if replayed else found
        case Refused():
            return _build_refusal(receipt, base, build_pointer(*place))
        case NotStored():
            detail = "Mercury could not store this email. Its log says why."
            return {"status": 500, "code": "not_stored", "detail": detail, "errors": []}
        case never:
            assert_never(never)


def _build_refusal(refused: Refused, base: str, pointer: str) -> dict[str, Any]:
    kept: Mapping[str, Any] = {}
    detail = refused.detail
    if refused.mail_id is not None:
        kept = {"mail": str(refused.mail_id), "url": f"{base}{refused.mail_id}"}
        detail = "The email was not accepted; see errors. It is kept as rejected."
    errors = [_locate(error, pointer).to_json() for error in refused.errors[:MAX_ERRORS]]
    return {"status": refused.reason.status, **kept, "code": refused.reason, "detail": detail, "errors": errors}


def _locate(error: InvalidField, pointer: str) -> FieldError:
    field = KEY if error.field == IDEMPOTENCY_KEY else error.field
    steps = (field, *error.path) if field else ()
    return FieldError(detail=error.detail, code=error.code, pointer=pointer + build_pointer(*steps))
