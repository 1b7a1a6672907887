"""Storages of files as URLs: a folder, or a bucket of an S3-compatible service."""

import importlib.util
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

LOCAL = "mercury.lib.storages.local.LocalStorage"
S3 = "mercury.lib.storages.s3.S3FileStorage"
_S3_OPTIONS = {"region": "region_name", "endpoint": "endpoint_url"}
_WRITE = "Write file:///PATH, or s3://BUCKET?region=eu-central-1&endpoint=https://HOST."


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
