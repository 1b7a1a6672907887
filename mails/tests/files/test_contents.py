"""Contents are stored once, and nothing that a process began is forgotten, whenever it dies."""

import datetime as dt
import hashlib
import io

import pytest
from django.core.files.base import ContentFile

from mails.files import contents, storage
from mails.files.contents import ContentTooLarge, MeasuredContent, WritingExpired
from mails.models import FileContent, UnusedFile
from mails.tests.files.support import PNG, list_stored
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db
HASH = hashlib.sha256(PNG).hexdigest()


def age(days: float) -> None:
    FileContent.objects.update(used_at=database_clock.now() - dt.timedelta(days=days))


def test_a_content_is_stored_once():
    contents.store({HASH: (PNG, len(PNG))})
    contents.store({HASH: (PNG, len(PNG))})

    (path,) = list_stored()
    assert path.read_bytes() == PNG
    assert FileContent.objects.get().location == "/".join(path.parts[-2:])
    assert not UnusedFile.objects.exists()


def test_two_writers_of_the_same_bytes_keep_one_content():
    first, second = contents.write(ContentFile(PNG)), contents.write(ContentFile(PNG))

    contents.keep(HASH, len(PNG), second)
    contents.keep(HASH, len(PNG), first)

    assert FileContent.objects.get().location == second
    assert contents.delete_unused(10) == 1
    assert len(list_stored()) == 1


def test_only_its_owner_can_read_a_file_on_disk():
    contents.store({HASH: (PNG, len(PNG))})

    (path,) = list_stored()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_bytes_of_a_process_that_died_are_deleted_after_a_day_and_not_before():
    contents.write(ContentFile(PNG))  # and died

    assert contents.delete_unused(10) == 0
    UnusedFile.objects.update(delete_at=database_clock.now())
    assert contents.delete_unused(10) == 1
    assert not list_stored()
    assert not UnusedFile.objects.exists()


def test_bytes_whose_deletion_has_begun_cannot_be_kept_any_more():
    location = contents.write(ContentFile(PNG))
    UnusedFile.objects.update(is_deleting=True)

    with pytest.raises(WritingExpired):
        contents.keep(HASH, len(PNG), location)

    assert not FileContent.objects.exists()


def test_a_write_that_fails_leaves_nothing(monkeypatch):
    def fail(location, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage, "save", fail)
    with pytest.raises(OSError, match="No space"):
        contents.write(ContentFile(PNG))

    assert contents.delete_unused(10) == 1
    assert not UnusedFile.objects.exists()


def test_what_the_storage_cannot_delete_is_tried_again(monkeypatch):
    location = contents.write(ContentFile(PNG))
    contents.discard([location])
    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete", lambda location: (_ for _ in ()).throw(OSError("gone away")))
        with pytest.raises(OSError, match="gone away"):
            contents.delete_unused(10)

    assert contents.delete_unused(10) == 0  # in ten minutes
    UnusedFile.objects.update(delete_at=database_clock.now())
    assert contents.delete_unused(10) == 1
    assert not list_stored()


def test_a_content_that_nothing_uses_is_deleted_a_day_after_its_last_use():
    contents.store({HASH: (PNG, len(PNG))})

    assert contents.delete_unreferenced(10) == 0
    age(days=2)
    assert contents.delete_unreferenced(10) == 1
    assert contents.delete_unused(10) == 1
    assert not list_stored()


def test_a_content_that_is_about_to_be_used_is_kept():
    contents.store({HASH: (PNG, len(PNG))})
    age(days=2)

    assert contents.mark_used([HASH]) == {HASH}
    assert contents.delete_unreferenced(10) == 0


def test_a_mark_is_renewed_once_an_hour(django_assert_num_queries):
    contents.store({HASH: (PNG, len(PNG))})

    with django_assert_num_queries(1):
        assert contents.mark_used([HASH, "0" * 64]) == {HASH}


def test_a_content_is_measured_as_it_passes():
    content = MeasuredContent(io.BytesIO(PNG).read, limit=1000)

    assert b"".join(content.chunks(7)) == PNG
    assert (content.size, content.sha256, content.head) == (len(PNG), HASH, PNG)


def test_a_content_that_is_too_large_ends_at_its_limit():
    read = io.BytesIO(b"x" * 10_000_000)

    with pytest.raises(ContentTooLarge):
        for _ in MeasuredContent(read.read, limit=1000).chunks(1000):
            pass

    assert read.tell() == 2000
