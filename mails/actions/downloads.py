"""Downloads of the files behind download links: what each counts, and how far it may go.

A download begins with its first answer that has bytes. It then has a day and COPIES times its size, for whatever a
browser fetches again; so a limit of downloads limits what leaves, and no interruption uses up another download.
"""

import uuid

from django.db import transaction
from django.db.models import F, Q

from mails.files import links
from mails.files.links import LinkState
from mails.lifecycle import writer
from mails.lifecycle.values import EventDraft
from mails.models import Download, DownloadLink
from mails.states import Actor, EventName
from mercury.lib.database import database_clock

COPIES = 3
EVENTS = 50  # downloads of a link that its email's timeline shows, the first ones; later ones are counted


class DownloadRefused(Exception):
    """The link does not allow this download, or not any more of it. `state`: that of the link."""

    def __init__(self, state: LinkState) -> None:
        super().__init__(state.value)
        self.state = state


def begin_answer(link: DownloadLink, download_id: uuid.UUID, length: int) -> None:
    """Count an answer with this many bytes; the first one of a download counts the download. Raises DownloadRefused.

    Two statements for a download that goes on. Of two that would be the last one, one is refused.
    """
    now = database_clock.now()
    with transaction.atomic():
        _, is_new = Download.objects.get_or_create(
            id=download_id, link=link, defaults={"started_at": now, "sent": length}
        )
        if is_new:
            _count_download(link)
            return
    state = links.get_state(link, now)
    going_on = Download.objects.filter(pk=download_id, sent__lte=COPIES * link.size - length)
    if not state.allows_resuming or not going_on.update(sent=F("sent") + length):
        raise DownloadRefused(state)


def end_answer(download_id: uuid.UUID, unsent: int) -> None:
    """Take back what an answer did not send."""
    if unsent > 0:
        Download.objects.filter(pk=download_id).update(sent=F("sent") - unsent)


def _count_download(link: DownloadLink) -> None:
    now = database_clock.now()
    usable = DownloadLink.objects.filter(pk=link.pk, revoked_at=None, expires_at__gt=now, content__isnull=False)
    within_limit = Q(max_downloads=None) | Q(downloads__lt=F("max_downloads"))
    if not usable.filter(within_limit).update(downloads=F("downloads") + 1):
        link.refresh_from_db()
        raise DownloadRefused(links.get_state(link, now))
    link.refresh_from_db(fields=["downloads"])
    if link.downloads <= EVENTS:
        blob = {"file": link.filename, "size": link.size, "download": link.downloads, "of": link.max_downloads}
        event = EventDraft(
            event=EventName.FILE_DOWNLOADED, by=Actor.DOWNLOAD_PAGE, at_ns=database_clock.now_ns(), blob=blob
        )
        writer.append_event(link.mail_id, event)


def revoke_link(link: DownloadLink, *, by: str) -> bool:
    """End a link now, with an event in its email's timeline; return False if it had ended before."""
    with transaction.atomic():
        if not links.revoke([link.pk], by=by):
            return False
        event = EventDraft(
            event=EventName.LINK_REVOKED, by=by[:128], at_ns=database_clock.now_ns(), blob={"file": link.filename}
        )
        writer.append_event(link.mail_id, event)
    return True
