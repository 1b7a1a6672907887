"""Events of download links as titles and sentences."""

from mails.models import Mail
from mails.timeline.entry import BoldText, Entry
from mails.timeline.event_payload import EventPayload
from mercury.lib import durations


def describe_file_downloaded(mail: Mail, payload: EventPayload) -> Entry:
    """Return the step of a download that began."""
    number, limit = payload.get_number("download"), payload.get_number("of")
    parts: list[str | BoldText] = [BoldText(payload.get_text("file") or "A file")]
    if (size := payload.get_number("size")) is not None:
        parts.append(f", {durations.format_size(int(size))}")
    if number is not None:
        parts.append(f". Download {number:.0f}" + (f" of {limit:.0f}" if limit is not None else "") + " of its link.")
    return Entry(title="File downloaded", parts=tuple(parts), icon="download")


def describe_link_revoked(mail: Mail, payload: EventPayload) -> Entry:
    """Return the step of a link that was ended before its time."""
    parts = ("The file ", BoldText(payload.get_text("file") or "of this email"), " can no longer be downloaded.")
    return Entry(title="Download link revoked", parts=parts, icon="ban")
