"""How each file of an email is delivered: as an attachment, or by a download link. Uses no database."""

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from rest_framework.exceptions import ErrorDetail

from mails.files.link_tokens import BaseUrlMissing
from mails.intake.attachment_fields import FileDelivery, GivenFile
from mails.message.message import AttachmentReference
from mercury.lib.durations import format_size
from mercury.lib.value import value

_INLINE = "The HTML shows this file, so it cannot be a link; leave 'delivery' or 'content_id' out."
_REMEDY = "; a larger file needs a download link, and those need MERCURY_BASE_URL, which an operator sets"


@value
class ChosenDelivery:
    """The files of an email by their delivery, or the errors of those that fit neither: by number, or those of all."""

    attached: tuple[AttachmentReference, ...] = ()
    linked: tuple[AttachmentReference, ...] = ()
    errors: Any = None


def choose(files: Sequence[GivenFile], references: Sequence[AttachmentReference]) -> ChosenDelivery:
    """Choose the delivery of each file: as it asks for, else as an attachment where the limits allow it, else by a link.

    Of attachments that are too large together, the largest become links, until the others fit.
    """
    can_link = bool(settings.MERCURY_BASE_URL)
    linked = {number for number, file in enumerate(files) if file.delivery == FileDelivery.LINK}
    if can_link:
        linked |= _choose_large(files, references, linked)
    errors = _find_errors(files, references, linked)
    attached = [reference for number, reference in enumerate(references) if number not in linked]
    if not errors and (total := _check_total(sum(reference.size for reference in attached))):
        return ChosenDelivery(errors=[total])
    if errors:
        return ChosenDelivery(errors=errors)
    return ChosenDelivery(attached=tuple(attached), linked=tuple(references[number] for number in sorted(linked)))


def _choose_large(files: Sequence[GivenFile], references: Sequence[AttachmentReference], linked: set[int]) -> set[int]:
    """Return the numbers of the files that only fit as links."""
    sizes = {number: reference.size for number, reference in enumerate(references) if number not in linked}
    free = [number for number in sizes if files[number].delivery == FileDelivery.AUTO and not files[number].content_id]
    chosen = {number for number in free if sizes[number] > settings.MERCURY_MAX_ATTACHMENT_SIZE}
    rest = sum(sizes.values()) - sum(sizes[number] for number in chosen)
    for number in sorted(set(free) - chosen, key=lambda number: sizes[number], reverse=True):
        if rest <= settings.MERCURY_MAX_ATTACHMENTS_SIZE:
            break
        chosen.add(number)
        rest -= sizes[number]
    return chosen


def _find_errors(
    files: Sequence[GivenFile], references: Sequence[AttachmentReference], linked: set[int]
) -> dict[str, Any]:
    errors: dict[str, Any] = {}
    for number, (file, reference) in enumerate(zip(files, references, strict=True)):
        if number not in linked:
            if error := _check_size(reference.size):
                errors[str(number)] = {"file" if file.file_id else "content": [error]}
        elif file.content_id:
            errors[str(number)] = {"delivery": [ErrorDetail(_INLINE, "inline_link")]}
        elif not settings.MERCURY_BASE_URL:
            errors[str(number)] = {"delivery": [ErrorDetail(str(BaseUrlMissing()), "links_not_available")]}
    return errors


def _check_size(size: int) -> ErrorDetail | None:
    """Return the error of an attachment of this size; None if it may have it."""
    most = settings.MERCURY_MAX_ATTACHMENT_SIZE
    if size <= most:
        return None
    words = f"The file has {format_size(size)}; at most {format_size(most)} are allowed (`MERCURY_MAX_ATTACHMENT_SIZE`)"
    return ErrorDetail(f"{words}{_explain_no_links()}.", "too_large")


def _check_total(size: int) -> ErrorDetail | None:
    """Return the error of attachments with this total of bytes; None if an email may have them."""
    most = settings.MERCURY_MAX_ATTACHMENTS_SIZE
    if size <= most:
        return None
    words = f"The attachments have {format_size(size)} in all; at most {format_size(most)} are allowed (`MERCURY_MAX_ATTACHMENTS_SIZE`)"
    return ErrorDetail(f"{words}{_explain_no_links()}.", "too_large")


def _explain_no_links() -> str:
    return "" if settings.MERCURY_BASE_URL else _REMEDY
