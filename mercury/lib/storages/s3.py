"""Files in a bucket of an S3-compatible service, by django-storages. An optional part: requirements-s3.txt."""

from collections.abc import Iterator
from typing import Any

from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from mercury.lib.storages.errors import StorageUnavailable
from mercury.lib.storages.ranges import CHUNK

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

    def read_range(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes from `start` up to `stop` as they arrive, from one request."""
        stored = self.bucket.Object(self._normalize_name(clean_name(name)))
        try:
            yield from stored.get(Range=f"bytes={start}-{stop - 1}")["Body"].iter_chunks(CHUNK)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchKey", "404"):
                raise FileNotFoundError(f"There is no file {name} in the bucket.") from error
            raise StorageUnavailable(f"S3 answered {code} for {name}.") from error
        except BotoCoreError as error:
            raise StorageUnavailable(f"S3 cannot be reached for {name}: {type(error).__name__}.") from error
