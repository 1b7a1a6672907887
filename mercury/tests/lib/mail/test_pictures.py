"""A picture of an email is answered by its signed path only, and nothing but a picture is."""

import pytest
from django.http import Http404
from django.test import RequestFactory

from mercury.lib.mail import pictures

PATH = "/mails/a b/files/1/picture"
PNG = b"\x89PNG\r\n\x1a\n..."


def check(path: str) -> None:
    pictures.check_signature(RequestFactory().get(path))


def test_a_signed_path_is_answered_for_some_minutes(monkeypatch):
    path = pictures.sign(PATH.replace(" ", "%20"))

    check(path)
    monkeypatch.setattr("time.time", lambda: 4e9)
    with pytest.raises(Http404):
        check(path)


def test_the_path_stays_the_same_for_a_while_so_that_browsers_keep_the_picture(monkeypatch):
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    first = pictures.sign(PATH)
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0 + pictures.STEP - 1)

    assert pictures.sign(PATH) == first


@pytest.mark.parametrize(
    "change",
    [
        lambda signed: signed.replace("files/1", "files/2"),
        lambda signed: signed.replace("until=", "until=9"),
        lambda signed: signed[:-1],
        lambda signed: signed.partition("&")[0],
        lambda signed: signed.partition("?")[0],
        lambda signed: signed.replace("until=1", "until=%D9%A1"),
    ],
)
def test_any_other_path_is_not(change):
    with pytest.raises(Http404):
        check(change(pictures.sign("/mails/a/files/1/picture")))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"GIF89a...", "image/gif"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\n\n\n\nWEBPVP8 ", "image/webp"),
    ],
)
def test_a_picture_says_its_real_type_and_runs_nothing(content, kind):
    answer = pictures.build_response(content)

    assert (answer["Content-Type"], answer.content) == (kind, content)
    assert answer["Content-Security-Policy"].startswith("sandbox; default-src 'none'")
    assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "content", [b"", b"<svg onload='alert(1)'>", b"<html>", b"GIF", b"BM....", b" \x89PNG\r\n\x1a\n"]
)
def test_nothing_else_is_answered(content):
    with pytest.raises(Http404):
        pictures.build_response(content)
