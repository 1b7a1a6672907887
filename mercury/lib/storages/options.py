"""Storages of files as URLs: a folder, a bucket of an S3-compatible service, a folder of Dropbox or of Google Drive."""

import importlib.util
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

LOCAL = "mercury.lib.storages.local.LocalStorage"
S3 = "mercury.lib.storages.s3.S3FileStorage"
DROPBOX = "mercury.lib.storages.dropbox.DropboxStorage"
GOOGLE_DRIVE = "mercury.lib.storages.google_drive.GoogleDriveStorage"
_S3_OPTIONS = {"region": "region_name", "endpoint": "endpoint_url"}
_WRITE = "Write file:///PATH, s3://BUCKET?region=eu-central-1&endpoint=https://HOST, dropbox://… or google-drive://…"
_WRITE_DROPBOX = "Write dropbox://APP_KEY:APP_SECRET@/FOLDER?refresh_token=TOKEN."
_WRITE_GOOGLE_DRIVE = "Write google-drive://FOLDER_ID?credentials=/PATH/OF/key.json."


def build_storage(url: str) -> dict[str, Any]:
    """Return the entry of Django's STORAGES for this URL; empty: the folder `files` in the data folder.

    Raises ValueError, without the URL, which may contain a secret.
    """
    if not url:
        return {"BACKEND": LOCAL}
    parts = urlsplit(url)
    match parts.scheme:
        case "file" if parts.path.strip("/") and not parts.netloc:
            return {"BACKEND": LOCAL, "OPTIONS": {"location": unquote(parts.path)}}
        case "s3" if parts.hostname:
            return {"BACKEND": S3, "OPTIONS": _read_s3(url)}
        case "dropbox":
            return {"BACKEND": DROPBOX, "OPTIONS": _read_dropbox(url)}
        case "google-drive":
            return {"BACKEND": GOOGLE_DRIVE, "OPTIONS": _read_google_drive(url)}
    raise ValueError(f"it is not the URL of a storage. {_WRITE}")


def _read_s3(url: str) -> dict[str, Any]:
    if importlib.util.find_spec("storages") is None or importlib.util.find_spec("boto3") is None:
        raise ValueError("S3 needs django-storages and boto3. Install them: pip install -r requirements-s3.txt")
    parts = urlsplit(url)
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if unknown := given.keys() - _S3_OPTIONS.keys():
        raise ValueError(f"it has an unknown option: {', '.join(sorted(unknown))}. {_WRITE}")
    keys = {"access_key": unquote(parts.username or ""), "secret_key": unquote(parts.password or "")}
    if any(keys.values()) and not all(keys.values()):
        raise ValueError(
            "it has one half of a key. Write s3://KEY:SECRET@BUCKET, or set AWS_ACCESS_KEY_ID and its secret."
        )
    return {
        "bucket_name": parts.hostname,
        "location": parts.path.strip("/"),
        **{name: value for name, value in keys.items() if value},
        **{_S3_OPTIONS[name]: value for name, value in given.items()},
    }


def _read_dropbox(url: str) -> dict[str, Any]:
    _require("Dropbox", "dropbox", "storages", "dropbox")
    parts = urlsplit(url)
    options = {
        "app_key": unquote(parts.username or ""),
        "app_secret": unquote(parts.password or ""),
        "oauth2_refresh_token": _read_only_option(url, "refresh_token", _WRITE_DROPBOX),
    }
    if parts.hostname or not all(options.values()):
        raise ValueError(f"it lacks a key, a secret or a token, or has a host. {_WRITE_DROPBOX}")
    return {**options, "root_path": f"/{unquote(parts.path).strip('/')}"}


def _read_google_drive(url: str) -> dict[str, Any]:
    _require("Google Drive", "google-drive", "googleapiclient", "google_auth_httplib2")
    parts = urlsplit(url)
    folder, path = parts.netloc, _read_only_option(url, "credentials", _WRITE_GOOGLE_DRIVE)
    if not folder or "@" in folder or parts.path.strip("/"):
        raise ValueError(f"it lacks the id of a folder, or has more than that. {_WRITE_GOOGLE_DRIVE}")
    if not Path(path).is_file():
        raise ValueError(f"the file of its credentials does not exist. {_WRITE_GOOGLE_DRIVE}")
    return {"credentials": path, "folder": folder}


def _read_only_option(url: str, name: str, write: str) -> str:
    given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    if given.keys() != {name} or not given[name]:
        raise ValueError(f"it has other options than one {name}. {write}")
    return given[name]


def _require(service: str, extra: str, *modules: str) -> None:
    """Raise ValueError if a package that the service needs is missing."""
    if any(importlib.util.find_spec(module) is None for module in modules):
        raise ValueError(f"{service} needs more packages. Install them: pip install -r requirements-{extra}.txt")
