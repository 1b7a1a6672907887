"""Files in an S3-compatible storage: django-storages against a real server of moto on this machine."""

import base64
import email
import email.policy
import os

import boto3
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from moto.server import ThreadedMotoServer

from mails.files import contents, storage
from mails.models import FileContent, UnusedFile
from mails.tests.builders import a_mail, dispatch
from mails.tests.files.support import PNG
from mercury.lib.database import database_clock
from mercury.lib.storages.errors import FileMissing, StorageUnavailable
from mercury.lib.storages.options import build_storage
from mercury.lib.storages.s3 import PART
from providers.sandbox import mailbox

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def server():
    started = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    started.start()
    yield "http://{}:{}".format(*started.get_host_and_port())
    started.stop()


@pytest.fixture
def bucket(server, settings):
    """An empty bucket, which is the storage of all files."""
    keys = {"aws_access_key_id": "zeus", "aws_secret_access_key": "thunder"}
    found = boto3.resource("s3", endpoint_url=server, region_name="us-east-1", **keys).create_bucket(Bucket="olympus")
    url = f"s3://zeus:thunder@olympus/mercury?region=us-east-1&endpoint={server}"
    settings.STORAGES = {**settings.STORAGES, storage.ALIAS: build_storage(url)}
    yield found
    found.objects.all().delete()


def list_keys(bucket):
    return [stored.key for stored in bucket.objects.all()]


def test_a_content_is_written_read_and_deleted(bucket):
    location = contents.write(ContentFile(PNG))

    assert list_keys(bucket) == [f"mercury/{location}"]
    assert storage.read(location) == PNG
    assert b"".join(storage.iterate_range(location, 2, 5)) == PNG[2:5]
    storage.delete(location)
    storage.delete(location)
    assert list_keys(bucket) == []
    with pytest.raises(FileMissing):
        storage.read(location)


def test_a_large_content_goes_in_parts(bucket):
    content = os.urandom(2 * PART + 1000)

    location = contents.write(contents.MeasuredContent(ContentFile(content).read, limit=len(content)))

    assert storage.read(location) == content


def test_an_email_takes_its_file_from_the_bucket(bucket, olympus):
    file = {"filename": "crown.png", "content": base64.b64encode(PNG).decode()}
    a_mail(attachments=[file])
    a_mail(attachments=[file])

    assert dispatch("attachment") == 2

    assert len(list_keys(bucket)) == 1
    kept = mailbox.load_page("olympus").mails[0]
    message = email.message_from_bytes(mailbox.read_source("olympus", kept.key), policy=email.policy.default)
    (attachment,) = message.iter_attachments()
    assert attachment.get_content() == PNG


def test_what_nothing_uses_is_deleted_from_the_bucket(bucket):
    contents.store({"1" * 64: (PNG, len(PNG))})
    FileContent.objects.update(used_at=database_clock.now() - 2 * contents.KEPT_UNUSED)

    assert contents.delete_unreferenced(10) == 1
    assert contents.delete_unused(10) == 1
    assert list_keys(bucket) == []
    assert not UnusedFile.objects.exists()


def test_a_bucket_that_cannot_be_reached_is_an_unavailable_storage(settings):
    url = "s3://zeus:thunder@olympus?region=us-east-1&endpoint=http://127.0.0.1:9"
    settings.STORAGES = {**settings.STORAGES, storage.ALIAS: build_storage(url)}

    for ask in (storage.read, storage.delete, lambda location: storage.save(location, ContentFile(PNG))):
        with pytest.raises(StorageUnavailable) as raised:
            ask("crown")
        assert "thunder" not in str(raised.value)
    assert storages[storage.ALIAS].bucket_name == "olympus"
