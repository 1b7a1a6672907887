"""The list of emails as CSV: the columns of the list, without bodies."""

import csv
import io
import uuid
from collections.abc import Iterable, Iterator

import structlog
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect
from django.utils import timezone

from mails.admin import choice
from mails.models import Mail, MailLabel
from mails.models.querysets import MailQuerySet
from mails.reporting import search
from mails.reporting.search import MailListFilter
from mails.states import DUPLICATE
from mercury.lib.spreadsheets import escape_formula

log = structlog.get_logger(__name__)

CHUNK = 1000  # emails read at a time; no cursor and no transaction stays open while a client is slow
COLUMNS = (
    "id",
    "accepted",
    "state",
    "reason",
    "from",
    "to",
    "subject",
    "account",
    "queue",
    "application",
    "tries",
    "ended",
    "possible_duplicate",
    "tags",
)
_TAGS = Prefetch("labels", MailLabel.objects.filter(name=""))


def export_view(request: HttpRequest) -> HttpResponseBase:
    """Stream the selected emails, or all that match, newest first."""
    if not request.user.has_perm("mails.view_mail"):
        raise PermissionDenied
    selected = choice.read_selection(request.GET)
    try:
        mails = _select_mails(selected)
    except search.UnknownSearchWord as unknown:
        messages.error(request, str(unknown))
        return redirect(choice.link_back(request.GET))
    now = timezone.now()
    log.info("mails_exported", by=request.user.get_username())
    return StreamingHttpResponse(
        _write_lines(mails),
        content_type="text/csv; charset=utf-8",
        headers={
            "Content-Disposition": f'attachment; filename="mails-{now:%Y-%m-%d-%H%M}.csv"',
            "Cache-Control": "no-store",
        },
    )


def _select_mails(selected: MailListFilter | list[uuid.UUID]) -> MailQuerySet:
    if isinstance(selected, MailListFilter):
        return selected.narrow(Mail.objects.all(), timezone.now())
    return Mail.objects.filter(pk__in=selected)


def _write_lines(mails: MailQuerySet) -> Iterator[str]:
    yield _format_csv([COLUMNS])
    mails = mails.select_related("api_key", "user").prefetch_related(_TAGS).order_by("-pk")
    page = list(mails[:CHUNK])
    while page:
        yield _format_csv(tuple(map(escape_formula, _list_cells(mail))) for mail in page)
        page = list(mails.filter(pk__lt=page[-1].pk)[:CHUNK]) if len(page) == CHUNK else []


def _list_cells(mail: Mail) -> tuple[str, ...]:
    application = mail.api_key.name if mail.api_key else mail.user.get_username() if mail.user else mail.source
    return (
        str(mail.pk),
        mail.created_at.isoformat(timespec="milliseconds"),
        mail.status,
        mail.reason_code,
        mail.sender,
        mail.recipient,
        mail.subject,
        mail.provider,
        mail.queue,
        application,
        str(mail.attempt_count),
        mail.finished_at.isoformat(timespec="milliseconds") if mail.finished_at else "",
        "yes" if mail.possible_duplicate or mail.reason_code == DUPLICATE else "no",
        " ".join(label.value for label in mail.labels.all()),
    )


def _format_csv(rows: Iterable[tuple[str, ...]]) -> str:
    written = io.StringIO()
    csv.writer(written).writerows(rows)
    return written.getvalue()
