"""Attachments of a submission: what is accepted, what is refused with which words, and nothing half stored."""

import base64
import hashlib
import json

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError
from hypothesis import given
from hypothesis import strategies as st

from mails.files import contents, storage, uploads
from mails.files.uploads import Owner
from mails.intake import submission
from mails.intake.attachment_fields import MAX_ATTACHMENTS
from mails.intake.receipts import Refused
from mails.intake.submission import InvalidSubmission, ValidSubmission
from mails.lifecycle import writer
from mails.models import FileContent, Mail, MailFile, StoredFile, UnusedFile
from mails.tests.builders import HELLO, a_mail, submit
from mails.tests.files.support import PDF, PNG, TEXT, list_stored
from mercury.lib.database import database_clock
from mercury.lib.storages.errors import StorageUnavailable
from providers.kinds.capabilities import Feature, read_needs

pytestmark = pytest.mark.django_db
HASH = hashlib.sha256(PNG).hexdigest()


def encoded(content: bytes = PNG) -> str:
    return base64.b64encode(content).decode()


def attached(content: bytes = PNG, filename: str = "crown.png", content_type: str = "image/png", **more):
    return {"filename": filename, "content_type": content_type, "content": encoded(content), **more}


def errors_of(**changes) -> dict[str, str]:
    """The codes of the errors of a submission, by their places."""
    receipt = submit({**HELLO, **changes})
    assert isinstance(receipt, Refused), receipt
    assert not MailFile.objects.exists()
    assert not list_stored()
    return {"/".join((error.field, *error.path)): error.code for error in receipt.errors}


def an_upload(content: bytes = PDF, owner: Owner | None = None, filename: str = "law.pdf") -> StoredFile:
    read = ContentFile(content).read
    return uploads.receive(read, filename=filename, declared="", size=len(content), owner=owner or Owner())


def test_an_email_has_its_files():
    mail = a_mail(
        html='<img src="cid:crown">',
        attachments=[attached(PDF, "law.pdf", "application/pdf"), attached(content_id="<crown>")],
    )

    picture, law = mail.files.all()
    assert (picture.number, picture.filename, picture.content_type, picture.size) == (
        1,
        "crown.png",
        "image/png",
        len(PNG),
    )
    assert (picture.cid, picture.content_id) == ("crown", HASH)
    assert (law.number, law.filename, law.cid) == (2, "law.pdf", "")
    assert mail.queue == "attachment"
    assert mail.size > len(PDF) + len(PNG)
    assert read_needs(mail.needs).features >= {Feature.ATTACHMENTS, Feature.INLINE}
    assert len(list_stored()) == 2
    assert not UnusedFile.objects.exists()


def test_the_same_content_of_many_emails_is_stored_once():
    for _ in range(3):
        a_mail(attachments=[attached(), attached(filename="copy.png")])

    assert len(list_stored()) == FileContent.objects.count() == 1
    assert MailFile.objects.count() == 6


def test_an_upload_is_used_by_many_emails():
    upload = an_upload()

    first = a_mail(attachments=[{"file": str(upload.pk)}])
    second = a_mail(attachments=[{"file": str(upload.pk), "filename": "the law.pdf"}])

    assert first.files.get().filename == "law.pdf"
    assert second.files.get().filename == "the law.pdf"
    assert first.files.get().content_type == "application/pdf"
    assert len(list_stored()) == 1


def test_a_deleted_upload_leaves_its_content_to_the_emails():
    upload = an_upload()
    mail = a_mail(attachments=[{"file": str(upload.pk)}])

    uploads.delete(upload)

    assert storage.read(mail.files.get().content.location) == PDF


def test_a_type_that_is_not_declared_is_found():
    mail = a_mail(
        attachments=[{"filename": "crown", "content": encoded()}, {"filename": "a.txt", "content": encoded(TEXT)}]
    )

    assert list(mail.files.values_list("content_type", flat=True)) == ["image/png", "text/plain"]


def test_base64_may_have_line_ends():
    content = base64.encodebytes(PNG * 10).decode().replace("\n", "\r\n")

    mail = a_mail(attachments=[{"filename": "crown.png", "content": content}])

    assert mail.files.get().size == len(PNG) * 10


@pytest.mark.parametrize(
    ("attachments", "errors"),
    [
        ("crown.png", {"attachments": "wrong_type"}),
        ({}, {"attachments": "wrong_type"}),
        (["crown.png"], {"attachments/0": "wrong_type"}),
        ([{}], {"attachments/0/filename": "required", "attachments/0/content": "required"}),
        ([{"filename": "a", "content": ""}], {"attachments/0/content": "empty_file"}),
        ([{"filename": "a", "content": "!"}], {"attachments/0/content": "invalid_base64"}),
        ([{"filename": "a", "content": "YQ"}], {"attachments/0/content": "invalid_base64"}),
        ([{"filename": "a", "content": "YQ==YQ=="}], {"attachments/0/content": "invalid_base64"}),
        ([{"filename": "a", "content": "YQ-_"}], {"attachments/0/content": "invalid_base64"}),
        ([{"filename": "a", "content": "Ünø="}], {"attachments/0/content": "invalid_base64"}),
        ([{"filename": "a", "content": "data:;base64,YQ=="}], {"attachments/0/content": "invalid_base64"}),
        ([{"filename": "a", "content": 1}], {"attachments/0/content": "wrong_type"}),
        ([{"filename": "", "content": "YQ=="}], {"attachments/0/filename": "required"}),
        ([{"filename": ["a"], "content": "YQ=="}], {"attachments/0/filename": "wrong_type"}),
        (
            [{"filename": "a", "content": "YQ==", "content_type": "nonsense"}],
            {"attachments/0/content_type": "invalid_content_type"},
        ),
        (
            [{"filename": "a", "content": "YQ==", "content_type": "a/b\r\nBcc: c"}],
            {"attachments/0/content_type": "invalid_content_type"},
        ),
        ([attached(b"<html>")], {"attachments/0/content_type": "wrong_content_type"}),
        ([attached(PDF)], {"attachments/0/content_type": "wrong_content_type"}),
        ([attached(disposition="inline")], {"attachments/0/disposition": "unknown_field"}),
        ([attached(content_id="a b")], {"attachments/0/content_id": "invalid_content_id"}),
        ([attached(content_id="a>\r\nBcc: b")], {"attachments/0/content_id": "invalid_content_id"}),
        ([attached(content_id="x" * 129)], {"attachments/0/content_id": "invalid_content_id"}),
        ([attached(content_id="crown")], {"attachments/0/content_id": "content_id_without_html"}),
        ([attached(content_id="a"), attached(content_id="a")], {"attachments/1": "duplicate_content_id"}),
        ([{"file": "nonsense"}], {"attachments/0/file": "unknown_file"}),
        ([{"file": HASH}], {"attachments/0/file": "unknown_file"}),
        ([{"file": "01a20e2c-0ffe-70aa-88cb-c27fbaf60d32"}], {"attachments/0/file": "unknown_file"}),
        (
            [attached(), attached(file="01a20e2c-0ffe-70aa-88cb-c27fbaf60d32")],
            {"attachments/1/content": "ambiguous", "attachments/1/file": "ambiguous"},
        ),
        ([attached()] * (MAX_ATTACHMENTS + 1), {"attachments": "too_many"}),
    ],
)
def test_what_is_wrong_with_an_attachment_is_named(attachments, errors):
    assert errors_of(attachments=attachments) == errors


@pytest.mark.parametrize(
    ("html", "content_ids", "errors"),
    [
        ('<img src="cid:crown">', [], {"html": "unknown_content_id"}),
        ("<img src='CID:crown'> <img src=cid:sword>", ["crown"], {"html": "unknown_content_id"}),
        ('<div style="background: url(cid:crown)">', ["sword"], {"html": "unknown_content_id"}),
    ],
)
def test_html_shows_only_files_that_are_there(html, content_ids, errors):
    assert errors_of(html=html, attachments=[attached(content_id=name) for name in content_ids]) == errors


def test_html_may_speak_of_names_that_it_does_not_show():
    a_mail(html="<p>placid:hera, acid:rain", attachments=[attached(content_id="crown")])
    a_mail(html="<p>The address cid:sword (see RFC 2392)", attachments=[])


@pytest.mark.parametrize("address", ["cr%40own", "cr@own", "cr&#64;own"])
def test_html_may_write_the_name_as_addresses_do(address):
    a_mail(html=f'<img src="cid:{address}">', attachments=[attached(content_id="cr@own")])


def test_a_file_with_an_error_is_not_missing_too():
    broken = attached(content_id="crown") | {"content": "!"}

    refused = submit({**HELLO, "html": '<img src="cid:crown">', "attachments": [broken]})

    assert [error.field for error in refused.errors] == ["attachments"]


def test_large_files_are_refused(settings):
    settings.MERCURY_MAX_ATTACHMENT_SIZE = len(PNG)

    assert errors_of(attachments=[attached(PNG + b"x")]) == {"attachments/0/content": "too_large"}
    a_mail(attachments=[attached()])


def test_many_files_that_are_large_together_are_refused(settings):
    settings.MERCURY_MAX_ATTACHMENTS_SIZE = len(PNG) + len(PDF)

    assert errors_of(attachments=[attached(), attached(PDF, "a", ""), attached(b"x", "b", "")]) == {
        "attachments": "too_large"
    }
    a_mail(attachments=[attached(), attached(PDF, "a", "")])


def test_uploads_have_the_limits_of_attachments(settings):
    upload = an_upload()
    settings.MERCURY_MAX_ATTACHMENT_SIZE = len(PDF) - 1

    receipt = submit({**HELLO, "attachments": [{"file": str(upload.pk)}]})

    assert [(error.path, error.code) for error in receipt.errors] == [(("0", "file"), "too_large")]


@pytest.mark.parametrize("change", [{"expires_at": database_clock.now}, {"content": lambda: None}])
def test_an_upload_that_is_expired_or_incomplete_cannot_be_used(change):
    upload = an_upload()
    StoredFile.objects.update(**{name: value() for name, value in change.items()})

    assert isinstance(submit({**HELLO, "attachments": [{"file": str(upload.pk)}]}), Refused)


def test_a_file_of_a_door_is_read_where_it_is():
    mail = a_mail(attachments=[{"filename": "crown.png", "content": ContentFile(PNG * 1000)}])

    assert mail.files.get().size == len(PNG) * 1000
    assert list_stored()[0].read_bytes() == PNG * 1000


def test_a_retry_with_its_key_gets_the_first_email_and_stores_nothing():
    first = submit({**HELLO, "attachments": [attached()]}, key="a")
    again = submit({**HELLO, "attachments": [attached()]}, key="a")
    other = submit({**HELLO, "attachments": [attached(PNG + b"x")]}, key="a")

    assert again.mail.pk == first.mail.pk
    assert again.replayed
    assert other.reason == "idempotency_key_reused"
    assert MailFile.objects.count() == 1


def test_an_email_that_is_refused_for_its_sender_stores_no_file():
    from mails.intake.client import Client
    from mails.states import Source
    from mails.tests.people import zeus

    client = Client(source=Source.FORM, user=zeus("iris@olimpus.com"))
    assert isinstance(submit({**HELLO, "attachments": [attached()]}, client=client), Refused)
    assert not list_stored()


def test_without_the_storage_nothing_is_stored(monkeypatch):
    def fail(location, content):
        raise StorageUnavailable("No space left on device")

    monkeypatch.setattr(storage, "save", fail)

    with pytest.raises(StorageUnavailable):
        submit({**HELLO, "attachments": [attached()]})
    assert not Mail.objects.exists()
    assert not FileContent.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_email_whose_content_was_deleted_in_between_is_not_stored(monkeypatch):
    def create(new):
        FileContent.objects.all().delete()
        return created(new)

    created = writer.create
    monkeypatch.setattr(writer, "create", create)

    with pytest.raises(IntegrityError):
        submit({**HELLO, "attachments": [attached()]})
    assert not Mail.objects.exists()


def test_files_of_emails_that_were_never_stored_are_deleted():
    contents.store({HASH: (PNG, len(PNG))})  # and the process died
    FileContent.objects.update(used_at=database_clock.now() - 2 * contents.KEPT_UNUSED)
    a_mail(attachments=[attached(PDF, "a.pdf", "")])

    assert contents.delete_unreferenced(10) == 1
    assert contents.delete_unused(10) == 1
    assert [path.read_bytes() for path in list_stored()] == [PDF]


def test_an_email_without_files_costs_no_statement_more(django_assert_max_num_queries, db):
    a_mail()
    with django_assert_max_num_queries(12) as plain:
        a_mail()

    assert not any("file" in query["sql"].lower() for query in plain.captured_queries)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["filename", "content", "file", "content_id", "content_type", "x"]), inner, max_size=5
        )
    ),
    max_leaves=10,
)


@given(JSON)
def test_anything_is_judged(value):
    judged = submission.judge({**HELLO, "attachments": value})

    assert isinstance(judged, ValidSubmission | InvalidSubmission)
    if isinstance(judged, InvalidSubmission):
        assert all(error.field in ("attachments", "html") for error in judged.errors)
    json.dumps([error.detail for error in getattr(judged, "errors", ())])


@given(st.binary(min_size=1, max_size=300), st.text(min_size=1, max_size=50))
def test_any_content_and_name_is_stored_as_it_is(content, filename):
    judged = submission.judge({**HELLO, "attachments": [{"filename": filename, "content": encoded(content)}]})

    if isinstance(judged, InvalidSubmission):
        assert {error.code for error in judged.errors} <= {"required", "forbidden_character"}
    else:
        (file,) = judged.message.attachments
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert judged.files[0].content == content
