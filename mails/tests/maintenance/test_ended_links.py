"""Ended links let go of their files; what is valid keeps them."""

import datetime as dt

import pytest

from mails.actions import downloads
from mails.files import contents
from mails.maintenance import ended_links
from mails.models import Download, DownloadLink, FileContent
from mails.tests.files.builders import a_link
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db
DAY = dt.timedelta(days=1)


def an_old_content() -> None:
    FileContent.objects.update(used_at=database_clock.now() - 2 * DAY)


def test_a_valid_link_keeps_its_content() -> None:
    link = a_link()
    an_old_content()
    assert ended_links.remove() == 0
    assert contents.delete_unreferenced(10) == 0
    assert FileContent.objects.filter(pk=link.sha256).exists()


def test_the_content_of_an_expired_link_is_deleted_and_its_row_stays() -> None:
    a_link(expires_at=database_clock.now())
    an_old_content()
    assert ended_links.remove() == 1
    assert ended_links.remove() == 0
    contents.delete_unreferenced(10)
    assert not FileContent.objects.exists()
    assert DownloadLink.objects.get().filename == "crown.png"


def test_the_content_of_a_revoked_link_is_deleted() -> None:
    downloads.revoke_link(a_link(), by="user:hermes")
    an_old_content()
    contents.delete_unreferenced(10)
    assert not FileContent.objects.exists()


def test_two_links_share_a_content_until_both_have_ended() -> None:
    a_link(expires_at=database_clock.now())
    a_link(number=2)
    an_old_content()
    ended_links.remove()
    contents.delete_unreferenced(10)
    assert FileContent.objects.exists()


def test_downloads_are_forgotten_after_a_day() -> None:
    link = a_link()
    now = database_clock.now()
    for number, started_at in enumerate((now - 2 * DAY, now)):
        Download.objects.create(
            id=f"00000000-0000-0000-0000-00000000000{number}", link=link, started_at=started_at, sent=1
        )
    assert ended_links.remove() == 1
    assert Download.objects.get().started_at == now
