"""Attachments on their way to a provider: read for the call alone, and an email whose file is gone waits for a person."""

import asyncio
import base64
import email
import email.policy
import time

import pytest
from django.core.files.base import ContentFile

from mails.dispatch.attachments import KEPT, SMALL, AttachmentLoader
from mails.dispatch.retry_policy import STORAGE_WAIT
from mails.files import contents, storage
from mails.lifecycle import action_requests
from mails.models import FileContent
from mails.reporting import alerts, system_status
from mails.states import HoldReason, Status
from mails.tests.builders import a_mail, dispatch, event_names, reloaded
from mails.tests.files.support import PDF, PNG
from mercury.lib.runtime import event_loop
from mercury.lib.storages.errors import FileMissing, StorageUnavailable
from providers.accounts import registration
from providers.outcomes import Cause, NotAttempted
from providers.sandbox import mailbox

pytestmark = pytest.mark.django_db(transaction=True)
QUEUES = ("text", "html", "attachment")


def attached(content=PNG, filename="crown.png", **more):
    return {"filename": filename, "content": base64.b64encode(content).decode(), **more}


def received(account="olympus"):
    (kept,) = mailbox.load_page(account).mails
    return email.message_from_bytes(mailbox.read_source(account, kept.key), policy=email.policy.default)


def test_files_arrive_as_they_were(olympus):
    mail = a_mail(
        html='<img src="cid:crown">', attachments=[attached(PDF, "Gesetz für Zeus.pdf"), attached(content_id="crown")]
    )

    assert dispatch(*QUEUES) == 1

    assert reloaded(mail).status == Status.DONE
    related, law = received().iter_parts()
    _, picture = related.iter_parts()
    assert (law.get_filename(), law.get_content()) == ("Gesetz für Zeus.pdf", PDF)
    assert (picture["Content-ID"], picture.get_content()) == ("<crown>", PNG)


def test_files_go_along_to_the_next_account(olympus, hades):
    registration.update(hades.account, priority=2, by="test")
    olympus.refuse(503)
    mail = a_mail(attachments=[attached(PDF, "law.pdf")])

    assert dispatch(*QUEUES) == 1

    assert [attempt.account for attempt in mail.attempts.order_by("number")] == ["olympus", "hades"]
    (law,) = received("hades").iter_attachments()
    assert law.get_content() == PDF


def test_a_missing_content_holds_the_email_for_a_person(olympus):
    mail = a_mail(attachments=[attached()])
    storage.delete(FileContent.objects.get().location)

    assert dispatch(*QUEUES) == 0
    assert dispatch(*QUEUES) == 0

    held = reloaded(mail)
    assert (held.status, held.reason_code) == (Status.HELD, HoldReason.FILE_MISSING)
    assert event_names(mail)[-3:] == ["SEND", "FAILURE", "HELD"]
    assert "attachment" in mail.events.last().blob
    status = system_status.read_system_status()
    assert status.held.file_missing == 1
    assert "held_file_missing" in {alert.code for alert in alerts.find_alerts(status)}


def test_a_content_without_a_row_holds_the_email_too(olympus, monkeypatch):
    mail, other = a_mail(attachments=[attached()]), a_mail()
    monkeypatch.setattr("mails.dispatch.contents.FileContent.objects", FileContent.objects.none())

    assert dispatch(*QUEUES) == 1

    assert reloaded(mail).reason_code == HoldReason.FILE_MISSING
    assert reloaded(other).status == Status.DONE


def test_a_held_email_is_sent_once_its_file_is_back(olympus):
    mail = a_mail(attachments=[attached()])
    location = FileContent.objects.get().location
    storage.delete(location)
    dispatch(*QUEUES)
    storage.save(location, ContentFile(PNG))

    release(mail)

    assert dispatch(*QUEUES) == 1


def release(mail):
    from mails.actions import apply
    from mails.states import Action

    apply.apply_action(mail.pk, action_requests.ActionRequest(action=Action.RELEASE, by="test"))


def test_a_storage_that_does_not_answer_delays_only_emails_with_files(olympus, monkeypatch):
    monkeypatch.setattr(storage, "read", lambda location: (_ for _ in ()).throw(StorageUnavailable("timed out")))
    with_file, plain = a_mail(attachments=[attached()]), a_mail()

    assert dispatch(*QUEUES) == 1

    waiting = reloaded(with_file)
    assert reloaded(plain).status == Status.DONE
    assert (waiting.status, waiting.reason_code) == (Status.WAITING, "file-storage")
    assert waiting.next_attempt_at.timestamp() - time.time() > STORAGE_WAIT / 2
    assert event_names(with_file)[-3:] == ["SEND", "FAILURE", "RETRY"]


class TestLoader:
    """Loads contents for one event loop."""

    def test_contents_come_by_their_hash(self):
        first, second = (contents.write(ContentFile(content)) for content in (PNG, PDF))
        loader = AttachmentLoader(seconds=5)

        assert event_loop.run(loader.load({"a": first, "b": second})) == {"a": PNG, "b": PDF}
        loader.close()

    def test_a_content_that_many_emails_have_is_read_once(self, monkeypatch):
        reads = []
        monkeypatch.setattr(storage, "read", lambda location: reads.append(location) or PNG)
        loader = AttachmentLoader(seconds=5)

        for _ in range(3):
            assert event_loop.run(loader.load({"a": "x"})) == {"a": PNG}

        assert reads == ["x"]

    def test_what_is_kept_is_bounded(self, monkeypatch):
        monkeypatch.setattr(storage, "read", lambda location: bytes(SMALL))
        loader = AttachmentLoader(seconds=5)

        async def load_many():
            for number in range(40):
                await loader.load({str(number): "x"})

        event_loop.run(load_many())

        assert loader._recent._size == sum(map(len, loader._recent._contents.values())) <= KEPT

    @pytest.mark.parametrize(
        ("error", "cause"), [(FileMissing("x"), Cause.FILE), (StorageUnavailable("x"), Cause.STORAGE)]
    )
    def test_what_the_storage_raises_is_an_outcome(self, monkeypatch, error, cause):
        monkeypatch.setattr(storage, "read", lambda location: (_ for _ in ()).throw(error))

        outcome = event_loop.run(AttachmentLoader(seconds=5).load({"a": "x"}))

        assert isinstance(outcome, NotAttempted)
        assert outcome.cause is cause

    def test_a_storage_has_as_long_as_a_call(self, monkeypatch):
        waits = asyncio.Event()

        async def load():
            loader = AttachmentLoader(seconds=0.01)
            monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", lambda *_: waits.wait(), raising=False)
            return await loader.load({"a": "x"})

        outcome = asyncio.run(load())

        assert outcome.cause is Cause.STORAGE
