"""The storage that a URL names, and what is said of one that names none."""

import importlib.util
from pathlib import Path

import pytest

from mercury.lib.storages import options
from mercury.lib.storages.options import build_storage

DROPBOX = "dropbox://Key:Secret@/Mercury/files?refresh_token=Tok%2Ben"


def test_dropbox_is_named_by_its_app_and_a_folder() -> None:
    assert build_storage(DROPBOX) == {
        "BACKEND": options.DROPBOX,
        "OPTIONS": {
            "app_key": "Key",
            "app_secret": "Secret",
            "oauth2_refresh_token": "Tok+en",
            "root_path": "/Mercury/files",
        },
    }


def test_google_drive_is_named_by_a_folder_and_credentials(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    path.write_text("{}")
    assert build_storage(f"google-drive://0AbC_Folder?credentials={path}") == {
        "BACKEND": options.GOOGLE_DRIVE,
        "OPTIONS": {"credentials": str(path), "folder": "0AbC_Folder"},
    }


@pytest.mark.parametrize(
    "url",
    [
        "dropbox://",
        "dropbox://Key:Secret@/x",
        "dropbox://Key@/x?refresh_token=Token",
        "dropbox://Key:Secret@host/x?refresh_token=Token",
        "dropbox://Key:Secret@/x?refresh_token=Token&more=1",
        "google-drive://?credentials=/etc/passwd",
        "google-drive://folder",
        "google-drive://folder?credentials=/does/not/exist.json",
        "google-drive://folder/path?credentials=/etc/passwd",
    ],
)
def test_what_is_missing_is_said_without_a_secret(url: str) -> None:
    with pytest.raises(ValueError, match=r"Write (dropbox|google-drive)://") as raised:
        build_storage(url)
    assert "Secret" not in str(raised.value)
    assert "=Token" not in str(raised.value)


@pytest.mark.parametrize(("url", "extra"), [(DROPBOX, "dropbox"), ("google-drive://folder", "google-drive")])
def test_a_missing_package_says_what_to_install(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=f"pip install -r requirements-{extra}.txt"):
        build_storage(url)
