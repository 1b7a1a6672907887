"""The page of a download link, and the file behind it. For anybody who has the link: it is the only right that it takes.

A program that follows all links of an email only gets the page. The button asks for a ticket, and the ticket's URL has
the file: with ranges, so that a browser resumes what was interrupted.
"""

import errno
import time
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from itertools import chain
from typing import TypeVar

import structlog
from django.db import Error, connection
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.http import content_disposition_header
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_safe

from mails.access import rate_limits
from mails.actions import downloads
from mails.actions.downloads import DownloadRefused
from mails.files import link_tokens, links, storage
from mails.files.links import LinkState
from mails.files.names import clean_filename
from mails.message.addresses import extract_address
from mails.models import DownloadLink
from mercury.lib import client_addresses
from mercury.lib.byte_ranges import ByteRange, RangeNotSatisfiable, parse_range
from mercury.lib.database import database_clock
from mercury.lib.rest import download_slots
from mercury.lib.storages.errors import FileMissing, StorageUnavailable

log = structlog.get_logger(__name__)

Response = TypeVar("Response", bound=HttpResponseBase)

PAGES_A_MINUTE = 120  # for one client's network
SEND_SECONDS = 60.0  # that a client may take for one piece of a file
BUSY_SECONDS = 30
LOOK_SECONDS = 30.0  # between two looks whether the link of a download in progress was withdrawn
_PRIVATE = {
    "Cache-Control": "private, no-store",
    "Referrer-Policy": "no-referrer",  # the address is the right
    "X-Robots-Tag": "noindex, nofollow, noarchive",
}
_PROBLEMS = {
    "unknown": (404, "This link is not valid", "Check that you have the whole link: some programs cut long ones."),
    LinkState.EXPIRED: (410, "This link has expired", "Ask the sender to send the file again."),
    LinkState.REVOKED: (410, "This link was withdrawn", "The sender no longer offers this file. Ask the sender."),
    LinkState.USED_UP: (410, "This link was used up", "It allowed a limited number of downloads. Ask the sender."),
    LinkState.REMOVED: (410, "This file was removed", "Ask the sender to send the file again."),
    "ticket": (410, "This download has ended", "A download has a day. Start it again from the link in your email."),
    "too-often": (429, "Too many requests", "Wait a minute, then try again."),
    "busy": (503, "Too many downloads right now", "Wait half a minute, then try again. Nothing was counted."),
    "unavailable": (503, "The file is not available right now", "Try again in a few minutes. Nothing was counted."),
}


@csrf_exempt  # it has no session, and the token in the address is all that it needs
@require_http_methods(["GET", "HEAD", "POST"])
def download_page(request: HttpRequest, token: str) -> HttpResponse:
    """Show the file and its sender. The button, a POST, leads to the file; a GET changes nothing."""
    link = _find_link(request, token)
    if isinstance(link, HttpResponse):
        return link
    if request.method == "POST":
        return _protect(redirect("download-file", token=token, ticket=link_tokens.make_ticket(link.pk)), status=303)
    left = None if link.max_downloads is None else link.max_downloads - link.downloads
    context = {"link": link, "sender": extract_address(link.mail.sender), "left": left}
    return _protect(render(request, "mails/download.html", context))


@csrf_exempt  # it takes no POST; a refusal of one would be logged with the address, which is a secret
@require_safe
def download_file(request: HttpRequest, token: str, ticket: str) -> HttpResponseBase:
    """Return the file, or the part of it that `Range` asks for."""
    link = _find_link(request, token, resuming=True)
    if isinstance(link, HttpResponse):
        return link
    download_id = link_tokens.read_ticket(link.pk, ticket)
    if download_id is None:
        return _explain(request, "ticket")
    try:
        part = _choose_part(request, link)
    except RangeNotSatisfiable:
        headers = {"Content-Range": f"bytes */{link.size}"}
        return _protect(HttpResponse(status=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers))
    headers = _build_headers(link, part)
    if request.method == "HEAD":
        return _protect(HttpResponse(headers=headers))
    return _send(request, link, download_id, part, headers)


def _find_link(request: HttpRequest, token: str, *, resuming: bool = False) -> DownloadLink | HttpResponse:
    """Return the link that the token names, or the page that says why there is none."""
    network = client_addresses.get_network(request.META.get("REMOTE_ADDR", ""))
    if wait := rate_limits.count_visit(network, amount=PAGES_A_MINUTE):
        return _explain(request, "too-often", retry_after=wait)
    link_id = link_tokens.read_token(token)
    link = DownloadLink.objects.select_related("mail", "content").filter(pk=link_id).first() if link_id else None
    if link is None:
        return _explain(request, "unknown")
    state = links.get_state(link, database_clock.now())
    if state is LinkState.VALID or (resuming and state.allows_resuming):
        return link
    return _explain(request, state)


def _choose_part(request: HttpRequest, link: DownloadLink) -> ByteRange:
    """Return the bytes to send. Raises RangeNotSatisfiable."""
    whole = ByteRange(0, link.size, link.size)
    header = request.headers.get("Range", "")
    if request.method != "GET" or request.headers.get("If-Range", _make_etag(link)) != _make_etag(link):
        return whole
    return parse_range(header, link.size) or whole


def _build_headers(link: DownloadLink, part: ByteRange) -> dict[str, str]:
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": content_disposition_header(as_attachment=True, filename=clean_filename(link.filename))
        or "attachment",
        "Content-Length": str(part.length),
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "Content-Type": link.content_type,
        "ETag": _make_etag(link),
    }
    return headers if part.length == link.size else {**headers, "Content-Range": part.content_range}


def _make_etag(link: DownloadLink) -> str:
    return f'"{link.sha256}"'


def _send(
    request: HttpRequest, link: DownloadLink, download_id: uuid.UUID, part: ByteRange, headers: dict[str, str]
) -> HttpResponseBase:
    """Count the answer once its first bytes are there, and send them as the client takes them."""
    if not download_slots.take():
        return _explain(request, "busy", retry_after=BUSY_SECONDS)
    answer = _Answer(request, link, download_id, part)
    try:
        answer.begin()
        downloads.begin_answer(link, download_id, part.length)
    except DownloadRefused as refused:
        answer.abandon()
        return _explain(request, refused.state if refused.state is not LinkState.VALID else "ticket")
    except StorageUnavailable as error:
        answer.abandon()
        log.error("download_failed", link=str(link.pk), error=str(error))  # noqa: TRY400 (the storage's own words)
        return _explain(request, LinkState.REMOVED if isinstance(error, FileMissing) else "unavailable")
    except BaseException:
        answer.abandon()
        raise
    answer.is_counted = True
    status = HTTPStatus.PARTIAL_CONTENT if "Content-Range" in headers else HTTPStatus.OK
    response = StreamingHttpResponse(answer, status=status, headers=headers)
    return _protect(response)


class _Answer:
    """The bytes of one answer. Django closes it in any case: after the last byte, or when the client is gone."""

    def __init__(self, request: HttpRequest, link: DownloadLink, download_id: uuid.UUID, part: ByteRange) -> None:
        assert link.content is not None  # noqa: S101 (a link in these states has one)
        self.is_counted = False
        self._pieces = storage.iterate_range(link.content.location, part.start, part.stop)
        self._link_id, self._download_id, self._unsent = link.pk, download_id, part.length
        self._first = b""
        self._is_open = True
        self._socket = request.META.get("gunicorn.socket")

    def begin(self) -> None:
        """Read the first bytes: what is missing says so before an answer begins."""
        self._first = next(self._pieces)

    def __iter__(self) -> Iterator[bytes]:
        if not connection.in_atomic_block:
            connection.close()  # nothing asks the database for as long as the client takes
        if self._socket is not None:
            self._socket.settimeout(SEND_SECONDS)
        looked_at = time.monotonic()
        for piece in chain((self._first,), self._pieces):
            if time.monotonic() - looked_at >= LOOK_SECONDS:
                if self._is_withdrawn():  # gunicorn hangs up without a word
                    raise ConnectionResetError(errno.ECONNRESET, "The link was withdrawn.")
                looked_at = time.monotonic()
            self._unsent -= len(piece)
            yield piece

    def _is_withdrawn(self) -> bool:
        """Return True if somebody has revoked the link since. A database that is away ends no download."""
        try:
            return DownloadLink.objects.filter(pk=self._link_id, revoked_at__isnull=False).exists()
        except Error:
            return False
        finally:
            if not connection.in_atomic_block:
                connection.close()

    def abandon(self) -> None:
        """Give the slot back; nothing was sent."""
        self._is_open = False
        download_slots.give_back()

    def close(self) -> None:
        """Give the slot back, and take back what was not sent."""
        if self._is_open:
            self.abandon()
            if self.is_counted:
                downloads.end_answer(self._download_id, self._unsent)


def _explain(request: HttpRequest, problem: str | LinkState, *, retry_after: int = 0) -> HttpResponse:
    status, title, remedy = _PROBLEMS[problem]
    response = render(request, "mails/download_problem.html", {"title": title, "remedy": remedy}, status=status)
    if retry_after:
        response["Retry-After"] = str(retry_after)
    return _protect(response)


def _protect(response: Response, *, status: int | None = None) -> Response:
    """Keep the address, which is a secret, out of caches, search engines and other sites."""
    for name, value in _PRIVATE.items():
        response[name] = value
    if status is not None:
        response.status_code = status
    return response
