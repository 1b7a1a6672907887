"""Files in a bucket of an S3-compatible service, by django-storages. An optional part: requirements-s3.txt."""

from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from storages.backends.s3 import S3Storage

PART = 8 * 1024 * 1024  # bytes that are held in memory for one file


class S3FileStorage(S3Storage):  # type: ignore[misc]
    """The bucket, with transfers that need little memory and calls that end."""

    def get_default_settings(self) -> dict[str, Any]:
        """Return the options of django-storages, those of them that Mercury sets in its own way."""
        chosen = {
            "default_acl": None,  # the bucket decides; new ones refuse any other
            "file_overwrite": True,  # each name is used once: no call asks whether it exists
            "max_memory_size": PART,  # a larger file that is read goes to a temporary file
            "transfer_config": TransferConfig(multipart_chunksize=PART, multipart_threshold=PART, use_threads=False),
            "client_config": Config(
                connect_timeout=5, read_timeout=20, retries={"max_attempts": 2}, signature_version="s3v4"
            ),
        }
        return {**super().get_default_settings(), **chosen}
