"""The page of a download link, and the file behind it."""

import datetime as dt
import hashlib
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from mails.actions import downloads
from mails.files import contents, link_tokens, storage
from mails.models import Download, DownloadLink
from mails.tests.builders import event_names
from mails.tests.files.builders import CROWN, a_link
from mails.web import downloads as pages
from mercury.lib.database import database_clock
from mercury.lib.rest import download_slots
from mercury.lib.storages import ranges
from mercury.lib.storages.errors import StorageUnavailable

pytestmark = pytest.mark.django_db
HERA = Client()


@pytest.fixture(autouse=True)
def allow_many_visits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tests that share a Redis not use up each other's visits."""
    monkeypatch.setattr(pages, "PAGES_A_MINUTE", 100_000)


def page_of(link: DownloadLink) -> str:
    return reverse("download", args=[link_tokens.make_token(link.pk)])


def press(link: DownloadLink) -> str:
    """The address of the file that the button leads to."""
    answer = HERA.post(page_of(link))
    assert answer.status_code == 303, answer.content
    return answer["Location"]


def get(address: str, **headers: str) -> tuple[Any, bytes]:
    answer = HERA.get(address, headers=headers)
    return answer, b"".join(answer) if answer.streaming else answer.content


def hang_up(answer: Any) -> None:
    """Leave after the first bytes."""
    next(answer._iterator)
    answer._iterator.close()


def downloads_of(link: DownloadLink) -> int:
    link.refresh_from_db()
    return link.downloads


def test_the_page_shows_file_sender_and_expiry_and_counts_nothing() -> None:
    link = a_link(max_downloads=3)
    answer = HERA.get(page_of(link))
    words = answer.content.decode()
    assert answer.status_code == 200
    for shown in ("crown.png", "10.2 kB", "zeus@olimpus.com", f"{link.expires_at:%-d %B %Y, %H:%M} UTC", link.sha256):
        assert shown in words
    assert downloads_of(link) == 0
    assert HERA.head(page_of(link)).status_code == 200


def test_neither_page_nor_file_is_kept_by_others() -> None:
    link = a_link()
    for answer in (HERA.get(page_of(link)), HERA.post(page_of(link)), get(press(link))[0], HERA.get("/files/a.b")):
        assert answer["Cache-Control"] == "private, no-store"
        assert answer["Referrer-Policy"] == "no-referrer"
        assert answer["X-Robots-Tag"] == "noindex, nofollow, noarchive"
        assert answer["X-Content-Type-Options"] == "nosniff"


def test_the_button_leads_to_the_whole_file() -> None:
    link = a_link()
    answer, content = get(press(link))
    assert answer.status_code == 200
    assert content == CROWN
    assert answer["Content-Length"] == "10240"
    assert answer["Content-Type"] == "image/png"
    assert answer["Content-Disposition"] == 'attachment; filename="crown.png"'
    assert answer["Accept-Ranges"] == "bytes"
    assert answer["ETag"] == f'"{hashlib.sha256(CROWN).hexdigest()}"'
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert downloads_of(link) == 1


def test_a_head_has_the_headers_and_counts_nothing() -> None:
    link = a_link()
    answer = HERA.head(press(link), headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer["Content-Length"], answer.content) == (200, "10240", b"")
    assert downloads_of(link) == 0


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=10000-", 10000, 10240),
        ("bytes=-40", 10200, 10240),
        (f"bytes=10200-{'9' * 30}", 10200, 10240),
    ],
)
def test_a_range_is_a_part_of_the_file(header: str, start: int, stop: int) -> None:
    answer, content = get(press(a_link()), Range=header)
    assert answer.status_code == 206
    assert content == CROWN[start:stop]
    assert answer["Content-Range"] == f"bytes {start}-{stop - 1}/10240"
    assert answer["Content-Length"] == str(stop - start)


@pytest.mark.parametrize("header", ["bytes=0-1,5-6", "bytes=5-1", "bytes=-5-9", "lines=1-2", "bytes=" + "0-1," * 2000])
def test_several_ranges_and_none_are_the_whole_file(header: str) -> None:
    answer, content = get(press(a_link()), Range=header)
    assert answer.status_code == 200
    assert content == CROWN


@pytest.mark.parametrize("header", ["bytes=10240-", "bytes=-0", f"bytes={'9' * 30}-"])
def test_a_range_behind_the_end_is_a_416(header: str) -> None:
    link = a_link()
    answer, content = get(press(link), Range=header)
    assert (answer.status_code, content) == (416, b"")
    assert answer["Content-Range"] == "bytes */10240"
    assert downloads_of(link) == 0


def test_a_range_of_another_version_is_the_whole_file() -> None:
    link = a_link()
    etag = f'"{hashlib.sha256(CROWN).hexdigest()}"'
    for condition, status in (
        (etag, 206),
        ('"other"', 200),
        (f"W/{etag}", 200),
        ("Sun, 29 Nov 2026 12:00:00 GMT", 200),
    ):
        answer, _ = get(press(link), **{"Range": "bytes=10-19", "If-Range": condition})
        assert answer.status_code == status, condition


def test_a_download_that_is_resumed_counts_once() -> None:
    link = a_link(max_downloads=1)
    address = press(link)
    _, first = get(address, Range="bytes=0-4999")
    _, second = get(address, Range="bytes=5000-")
    assert first + second == CROWN
    assert downloads_of(link) == 1
    assert event_names(link.mail).count("FILE DOWNLOADED") == 1


def test_each_press_of_the_button_is_a_download_until_they_are_used_up() -> None:
    link = a_link(max_downloads=2)
    early = press(link)
    get(press(link))
    get(press(link))
    answer = HERA.get(page_of(link))
    assert answer.status_code == 410
    assert "used up" in answer.content.decode()
    assert HERA.post(page_of(link)).status_code == 410
    answer, content = get(early)  # a ticket alone is no download
    assert answer.status_code == 410
    assert content != CROWN
    assert downloads_of(link) == 2


def test_one_ticket_is_no_way_around_the_limit() -> None:
    address = press(a_link(max_downloads=1))
    statuses = [get(address)[0].status_code for _ in range(downloads.COPIES + 2)]
    assert statuses == [200] * downloads.COPIES + [410] * 2


def test_what_was_not_sent_is_not_counted_as_sent() -> None:
    link = a_link(CROWN * 100, max_downloads=1)
    address = press(link)
    for _ in range(7):
        hang_up(HERA.get(address))
    assert Download.objects.get().sent <= 7 * ranges.CHUNK
    assert get(address)[0].status_code == 200


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "expired"),
        ({"revoked_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}, "withdrawn"),
        ({"content_id": None}, "removed"),
        ({"max_downloads": 0}, "used up"),
    ],
)
def test_a_link_that_has_ended_says_so_and_names_no_file(changes: dict[str, Any], words: str) -> None:
    link = a_link(**changes)
    for answer in (HERA.get(page_of(link)), HERA.post(page_of(link))):
        assert answer.status_code == 410
        assert words in answer.content.decode()
        assert "crown.png" not in answer.content.decode()


def test_a_link_that_ends_during_a_download_ends_that_too() -> None:
    link = a_link()
    address = press(link)
    get(address, Range="bytes=0-4999")
    assert downloads.revoke_link(link, by="user:hermes")
    assert get(address, Range="bytes=5000-")[0].status_code == 410
    assert not downloads.revoke_link(link, by="user:hermes")
    assert event_names(link.mail)[-2:] == ["FILE DOWNLOADED", "LINK REVOKED"]
    link.refresh_from_db()
    assert (link.revoked_by, link.content_id) == ("user:hermes", None)


def test_a_revoked_link_ends_the_download_in_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "CHUNK", 1000)
    monkeypatch.setattr(pages, "LOOK_SECONDS", 0.0)
    link = a_link()
    answer = HERA.get(press(link))
    pieces = iter(answer)
    next(pieces)

    downloads.revoke_link(link, by="zeus")

    with pytest.raises(ConnectionResetError):
        next(pieces)
    assert Download.objects.get(link=link).sent == 1000


def test_a_link_that_ends_between_look_and_count_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    link = a_link()
    address = press(link)
    begin = downloads.begin_answer

    def revoke_first(*args: Any) -> None:
        downloads.revoke_link(link, by="user:hermes")
        begin(*args)

    monkeypatch.setattr(downloads, "begin_answer", revoke_first)
    assert get(address)[0].status_code == 410
    assert downloads_of(link) == 0
    assert not Download.objects.exists()


def test_a_changed_token_looks_like_an_unknown_one_and_costs_no_query(django_assert_num_queries) -> None:
    link = a_link()
    address = page_of(link)
    link_tokens_of_none = reverse("download", args=[link_tokens.make_token(link.mail_id)])
    unknown = HERA.get(link_tokens_of_none)
    assert unknown.status_code == 404
    for changed in (address[:-1] + ("A" if address[-1] != "A" else "B"), address + "A", address[:-5], "/files/x"):
        with django_assert_num_queries(0):
            answer = HERA.get(changed)
        assert answer.status_code == 404
        assert answer.content == unknown.content


def test_a_ticket_is_for_its_own_link() -> None:
    crown, harp = a_link(), a_link(number=2, filename="harp.png")
    ticket = press(crown).rpartition("/")[2]
    answer, _ = get(f"{page_of(harp)}/{ticket}")
    assert answer.status_code == 410
    assert get(f"{page_of(harp)}/x")[0].status_code == 410
    assert downloads_of(harp) == 0


def test_a_ticket_of_yesterday_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    address = press(a_link())
    now = time.time()
    monkeypatch.setattr("django.core.signing.time.time", lambda: now + link_tokens.TICKET_SECONDS + 1)
    assert get(address)[0].status_code == 410


def test_a_content_that_is_lost_is_said_before_an_answer_begins() -> None:
    link = a_link()
    address = press(link)
    assert link.content is not None
    storage.delete(link.content.location)
    assert get(address)[0].status_code == 410
    assert downloads_of(link) == 0


def test_a_storage_that_fails_is_a_503_and_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Iterator[bytes]:
        raise StorageUnavailable("it does not answer")
        yield

    link = a_link()
    address = press(link)
    monkeypatch.setattr(storage, "iterate_range", fail)
    assert get(address)[0].status_code == 503
    assert downloads_of(link) == 0
    monkeypatch.undo()
    assert get(address)[0].status_code == 200


def test_only_so_many_downloads_run_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_slots, "MOST", 1)
    link = a_link()
    address = press(link)
    first = HERA.get(address)
    answer, _ = get(address)
    assert (answer.status_code, answer["Retry-After"]) == (503, "30")
    hang_up(first)
    assert get(address)[0].status_code == 200
    assert downloads_of(link) == 1


def test_one_network_asks_only_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGES_A_MINUTE", 2)
    page = page_of(a_link())
    network = f"10.{'.'.join(map(str, uuid.uuid4().bytes[:3]))}"
    statuses = [HERA.get(page, REMOTE_ADDR=network).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert HERA.get(page, REMOTE_ADDR=f"2001:db8:{uuid.uuid4().hex[:4]}::1").status_code == 200
    assert 1 <= int(HERA.get(page, REMOTE_ADDR=network)["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("filename", "disposition"),
    [
        ("crown.png", 'attachment; filename="crown.png"'),
        ('a"b\\c".png', 'attachment; filename="c_.png"'),
        ("κορώνα.png", "attachment; filename*=utf-8''%CE%BA%CE%BF%CF%81%CF%8E%CE%BD%CE%B1.png"),
        ("<script>alert(1)</script>", 'attachment; filename="script_"'),
        ("a\r\nSet-Cookie: x=1", None),
    ],
)
def test_a_hostile_name_stays_a_name(filename: str, disposition: str | None) -> None:
    link = a_link(filename=filename)
    words = HERA.get(page_of(link)).content.decode()
    assert "<script>alert" not in words
    answer, content = get(press(link))
    assert content == CROWN
    assert "Set-Cookie" not in answer.headers
    assert "\n" not in answer["Content-Disposition"]
    if disposition is not None:
        assert answer["Content-Disposition"] == disposition


def test_html_is_downloaded_and_never_shown() -> None:
    link = a_link(b"<script>alert(1)</script>", filename="page.html", content_type="text/html")
    answer, _ = get(press(link))
    assert answer["Content-Disposition"].startswith("attachment")
    assert answer["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert answer["X-Content-Type-Options"] == "nosniff"


def test_a_timeline_names_the_first_downloads_of_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "EVENTS", 2)
    link = a_link()
    for _ in range(4):
        get(press(link))
    assert downloads_of(link) == 4
    assert event_names(link.mail).count("FILE DOWNLOADED") == 2


def test_other_methods_are_refused() -> None:
    link = a_link()
    assert HERA.put(page_of(link)).status_code == 405
    assert HERA.post(press(link)).status_code == 405


@given(st.binary(min_size=1, max_size=40))
def test_any_address_has_an_answer(raw: bytes) -> None:
    path = "/files/" + "".join(f"%{byte:02x}" for byte in raw)
    assert HERA.get(path, REMOTE_ADDR=f"10.{raw[0]}.{len(raw)}.1").status_code in (400, 404, 429)


def test_a_content_is_kept_while_its_link_is_valid() -> None:
    link = a_link()
    assert contents.mark_used([link.sha256]) == {link.sha256}
    assert database_clock.now() < link.expires_at


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE", "PATCH"])
def test_no_log_has_the_address_of_a_file(method: str, caplog: pytest.LogCaptureFixture) -> None:
    address = press(a_link())

    answer = Client(enforce_csrf_checks=True).generic(method, address)

    assert answer.status_code == 405
    assert not [record for record in caplog.records if record.name.startswith("django.security")]
