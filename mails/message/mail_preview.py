"""Preview of a stored email for its page: its parts, headers, source and files. Reads no file: contents may be large, or far away."""

from collections.abc import Iterable
from dataclasses import replace

from mails.message import mime
from mails.message.message import Message
from mails.models import Mail, MailFile
from mercury.lib.mail import html_cleaning, preview
from mercury.lib.mail.preview import File, MailPreview


def build_preview(mail: Mail, message: Message, *, files: Iterable[MailFile]) -> MailPreview:
    """Return the preview of an email for a page. `message`: see `mime.read_beginning`. `files`: see `list_files`."""
    cut = replace(message, text=message.text[: preview.TEXT_SHOWN])
    raw = mime.render_source(mail, cut, contents=_NoContents())
    parsed = preview.read(raw) if raw else MailPreview(b"", text=cut.text)
    return replace(
        parsed,
        files=[_describe(file) for file in files],
        leaves_out_files=bool(message.attachments),
        goes_on=len(message.text) > preview.TEXT_SHOWN or len(message.html) > html_cleaning.AT_MOST,
    )


def list_files(mail: Mail) -> list[MailFile]:
    """Return the files of an email, also those whose content retention deleted. One query."""
    return list(MailFile.objects.filter(mail=mail))


def _describe(file: MailFile) -> File:
    return File(
        number=file.number,
        name=file.filename,
        kind=file.content_type,
        size=file.size,
        content_id=file.cid,
        is_kept=file.content_id is not None,
    )


class _NoContents(dict[str, bytes]):
    """Contents of attachments, all of them empty."""

    def __missing__(self, key: str) -> bytes:
        return b""
