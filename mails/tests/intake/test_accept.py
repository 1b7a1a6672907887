"""The one way in, for one email: stored or refused, never in between; one idempotency key, one email."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import F

from mails.access import api_keys
from mails.dispatch import wake
from mails.intake import accept as intake
from mails.intake.client import Client, is_sender_allowed
from mails.intake.receipts import RefusalReason, Refused, Stored
from mails.intake.submission_fields import KEPT_OF_A_REJECTED
from mails.lifecycle import writer
from mails.models import ApiKey, Event, IdempotencyKey, Mail
from mails.states import Source, Status
from mails.tests.builders import API, COMMAND, HELLO, HERA, IRIS, ZEUS, a_mail, a_rejected_mail, event_names, submit
from mercury.lib.runtime import process_state

pytestmark = pytest.mark.django_db


def test_a_mail_is_stored_with_text_recipients_and_first_events():
    mail = a_mail(recipient=[HERA, IRIS])

    stored = Mail.objects.get(pk=mail.pk)
    assert (stored.status, stored.sender, stored.recipient) == (Status.QUEUED, ZEUS, f"{HERA}, {IRIS}")
    assert stored.content.text == "Hi"
    assert [recipient.address for recipient in stored.recipients.all()] == [HERA, IRIS]
    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]
    assert stored.expires_at - stored.created_at == dt.timedelta(days=3)


@pytest.mark.parametrize(("asked", "queue"), [({}, "text"), ({"queue": "bulk"}, "bulk")])
def test_the_queue_is_woken_after_the_commit(asked, queue, monkeypatch, django_capture_on_commit_callbacks):
    woken = []
    monkeypatch.setattr(wake, "wake_workers", woken.append)

    with django_capture_on_commit_callbacks(execute=True):
        a_mail(**asked)
        assert woken == []

    assert woken == [queue]


@pytest.mark.django_db(transaction=True)
def test_a_wake_that_fails_does_not_fail_a_stored_mail(monkeypatch):
    def broken(queue):
        raise RuntimeError("no such queue")

    monkeypatch.setattr(wake, "wake_workers", broken)

    assert Mail.objects.filter(pk=a_mail().pk).exists()


@pytest.mark.parametrize("source", [Source.FORM, Source.COMMAND])
def test_what_a_person_mistypes_leaves_no_row(source):
    refused = submit({"sender": "zeus", "recipient": "nobody"}, client=Client(source=source))

    assert (refused.reason, refused.mail_id) == (RefusalReason.INVALID_MAIL, None)
    assert [error.field for error in refused.errors] == ["sender", "recipient"]
    assert not Mail.objects.exists()
    assert not Event.objects.exists()


def test_an_email_that_fails_validation_is_kept_with_its_errors():
    kept = a_rejected_mail(sender="zeus", recipient="nobody", content="x" * 10_000)

    assert (kept.status, kept.sender, kept.recipient) == (Status.REJECTED, "zeus", "nobody")
    assert len(kept.content.text) == KEPT_OF_A_REJECTED
    assert event_names(kept) == ["NEW", "BAD REQUEST"]
    assert "invalid_address" in kept.events.last().blob


@pytest.mark.parametrize("sender", [None, {"a": ["\ud800\0"]}, "\ud800\0", 7, ["x"]])
def test_even_nonsense_is_kept_legibly(sender):
    assert a_rejected_mail(sender=sender).status == Status.REJECTED


@pytest.mark.parametrize(
    ("allowed", "address", "may"),
    [
        ([], ZEUS, False),
        ([ZEUS], ZEUS, True),
        ([ZEUS], HERA, False),
        (["@olimpus.com"], HERA, True),
        (["@OLIMPUS.com"], HERA, True),
        (["@olimpus.com"], "hera@mail.olimpus.com", False),
        (["@olimpus.com"], "hera@notolimpus.com", False),
        (["*"], "anyone@anywhere.org", True),
        (["@faß.de"], "zeus@xn--fa-hia.de", True),
        (["@fass.de"], "zeus@xn--fa-hia.de", False),
        (["zeus@FAẞ.de"], "zeus@xn--fa-hia.de", True),
    ],
)
def test_who_may_send_as_whom(allowed, address, may):
    assert is_sender_allowed(address, allowed) is may


def test_a_key_sends_only_as_it_may_and_nothing_is_stored_otherwise():
    key, _ = api_keys.create("olimpus", scopes=["mails:send"], senders=[HERA])

    refused = submit(client=Client(source=Source.API, api_key=key))

    assert refused.reason == RefusalReason.SENDER_NOT_ALLOWED
    assert refused.detail.startswith("Not allowed to send as zeus@olimpus")
    assert not Mail.objects.exists()


def test_a_name_does_not_hide_an_address_that_is_not_allowed():
    key, _ = api_keys.create("olimpus", scopes=["mails:send"], senders=[HERA])

    refused = submit({**HELLO, "sender": f'"{HERA}" <{ZEUS}>'}, client=Client(source=Source.API, api_key=key))

    assert refused.reason == RefusalReason.SENDER_NOT_ALLOWED


def test_a_person_sends_as_their_addresses_and_a_superuser_as_anyone():
    person = get_user_model().objects.create_user("zeus")
    person.sender_permissions.create(address=ZEUS)
    chief = get_user_model().objects.create_superuser("hermes")

    a_mail(Client(source=Source.FORM, user=person))
    a_mail(Client(source=Source.FORM, user=chief), sender=HERA)
    refused = submit({**HELLO, "sender": HERA}, client=Client(source=Source.FORM, user=person))

    assert refused.reason == RefusalReason.SENDER_NOT_ALLOWED


def test_the_same_key_and_body_give_the_same_mail():
    first = submit(key="reset-1")
    second = submit(dict(reversed(HELLO.items())), key="reset-1")

    assert (first.replayed, second.replayed) == (False, True)
    assert second.mail.pk == first.mail.pk
    assert Mail.objects.count() == 1


def test_the_same_key_and_another_body_are_refused():
    submit(key="reset-1")

    refused = submit({**HELLO, "subject": "Another"}, key="reset-1")

    assert refused.reason == RefusalReason.KEY_REUSED
    assert Mail.objects.count() == 1


def test_a_requested_queue_is_part_of_the_body_of_a_key():
    submit({**HELLO, "queue": "bulk"}, key="news-1")

    assert submit(key="news-1").reason == RefusalReason.KEY_REUSED
    assert submit({**HELLO, "queue": "bulk"}, key="news-1").replayed


def test_the_hash_of_a_body_is_the_same_in_each_version():
    submit({**HELLO, "delivery_guarantee": "at-least-once", "queue": None}, key="reset-1")

    assert IdempotencyKey.objects.get().body_hash == "b75bc80e2f1f6eb7492b54d63b1ada5b44c409a05d6bd3b801efa575462ce7da"


def test_two_clients_may_use_the_same_key():
    one, _ = api_keys.create("one", scopes=["mails:send"], senders=["*"])
    two, _ = api_keys.create("two", scopes=["mails:send"], senders=["*"])

    for key in (one, two):
        assert not submit(client=Client(source=Source.API, api_key=key), key="k").replayed


def test_a_key_is_forgotten_after_a_day():
    submit(key="reset-1")
    IdempotencyKey.objects.update(created_at=F("created_at") - dt.timedelta(hours=24))

    assert not submit({**HELLO, "subject": "Another"}, key="reset-1").replayed

    assert IdempotencyKey.objects.count() == 1


def test_a_rejected_mail_shows_the_queue_that_it_would_have_had():
    for queue in ("bulk", "express"):
        a_rejected_mail(recipient="nobody", queue=queue)

    assert sorted(Mail.objects.values_list("queue", flat=True)) == ["bulk", "text"]


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ({}, "at-most-once"),
        ({"delivery_guarantee": "at-least-once"}, "at-least-once"),
        ({"delivery_guarantee": "perhaps"}, "at-most-once"),
        ({"delivery_guarantee": ["at-least-once"]}, "at-most-once"),
    ],
)
def test_a_rejected_email_shows_the_delivery_guarantee_that_it_would_have_had(asked, shown, settings):
    settings.MERCURY_DELIVERY_GUARANTEE = "at-most-once"

    assert a_rejected_mail(recipient="nobody", **asked).delivery_guarantee == shown


def test_a_rejected_mail_does_not_use_up_the_key():
    submit({**HELLO, "sender": "zeus"}, client=API, key="reset-1")

    assert not submit(client=API, key="reset-1").replayed


@pytest.mark.parametrize("key", ["", " ", "a\nb", "ü", "x" * 256, " a", "a "])
def test_a_malformed_key_is_refused(key):
    assert submit(key=key).reason == RefusalReason.INVALID_KEY


@pytest.mark.django_db(transaction=True)
def test_a_crash_before_the_commit_leaves_neither_mail_nor_key(monkeypatch):
    def crash(new):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(writer, "create", crash)
        with pytest.raises(KeyboardInterrupt):
            submit(key="reset-1")

    assert not IdempotencyKey.objects.exists()
    assert not submit(key="reset-1").replayed


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_with_one_key_one_is_stored():
    barrier = threading.Barrier(8)

    def hand_in(_):
        barrier.wait()
        try:
            return submit(key="reset-1")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        receipts = list(pool.map(hand_in, range(8)))

    assert {receipt.mail.pk for receipt in receipts if isinstance(receipt, Stored)} == {Mail.objects.get().pk}
    assert {receipt.reason for receipt in receipts if isinstance(receipt, Refused)} <= {RefusalReason.KEY_IN_USE}


@pytest.mark.django_db(transaction=True)
def test_a_key_of_a_running_request_is_refused_at_once():
    if connection.vendor != "postgresql":
        assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"  # writers wait for each other
        return

    def second():
        try:
            return submit(key="reset-1")
        finally:
            connections.close_all()

    with transaction.atomic():
        submit(key="reset-1")
        with ThreadPoolExecutor(1) as pool:
            receipt = pool.submit(second).result(timeout=10)

    assert receipt.reason == RefusalReason.KEY_IN_USE


def test_events_of_a_mail_come_in_the_order_of_its_life():
    mail = a_mail()

    times = list(Event.objects.filter(mail=mail).order_by("id").values_list("created_at", flat=True))
    assert times == sorted(times)


@pytest.mark.django_db(transaction=True)
def test_mails_that_come_in_together_are_stored_together_and_wake_their_queue_once(monkeypatch):
    groups, woken = [], []
    together = GatheredGroup(monkeypatch, groups)
    monkeypatch.setattr(wake, "wake_workers", woken.append)

    receipts = together.hand_in([HELLO] * 4)

    assert sorted(map(len, groups)) == [1, 3]
    assert woken == ["text", "text"]
    assert {receipt.mail.pk for receipt in receipts} == set(Mail.objects.values_list("pk", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_cannot_be_stored_spoils_no_other_of_its_group(monkeypatch):
    together = GatheredGroup(monkeypatch, [])
    gone, _ = api_keys.create("gone", scopes=["mails:send"], senders=["*"])
    ApiKey.objects.filter(pk=gone.pk).delete()
    strange = Client(source=Source.API, api_key=gone)

    receipts = together.hand_in([HELLO] * 4, clients=[COMMAND, COMMAND, strange, COMMAND])

    assert [isinstance(receipt, IntegrityError) for receipt in receipts] == [False, False, True, False]
    assert Mail.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_of_a_group_with_one_key_one_mail_is_stored_and_the_others_get_its_receipt(monkeypatch):
    groups = []
    together = GatheredGroup(monkeypatch, groups)

    receipts = together.hand_in([HELLO] * 4, key="reset-1")

    assert sorted(map(len, groups))[-1] == 3
    assert {receipt.mail.pk for receipt in receipts} == {Mail.objects.get().pk}
    assert sorted(receipt.replayed for receipt in receipts) == [False, True, True, True]


class GatheredGroup:
    """Holds the first mail's write back until all the others have come in, so that they make one group."""

    def __init__(self, monkeypatch, groups):
        self.began, self.gate = threading.Event(), threading.Event()
        create = writer.create

        def held(new):
            groups.append(new)
            if len(groups) == 1:
                self.began.set()
                self.gate.wait(10)
            return create(new)

        monkeypatch.setattr(writer, "create", held)

    def hand_in(self, mails, *, clients=None, key=None):
        clients = clients or [COMMAND] * len(mails)
        with ThreadPoolExecutor(len(mails)) as pool:
            calls = [pool.submit(self._accept, mails[0], clients[0], key)]
            self.began.wait(10)
            calls += [pool.submit(self._accept, *call, key) for call in list(zip(mails, clients, strict=True))[1:]]
            while len(process_state.get(intake._SharedTransactions)._waiting) < len(mails) - 1:
                assert not any(call.done() for call in calls), "one ended before it could wait for the others"
            self.gate.set()
            return [call.result(20) for call in calls]

    def _accept(self, mail, client, key):
        try:
            return submit(mail, client=client, key=key)
        except IntegrityError as error:
            return error
        finally:
            connections.close_all()
