"""The one way in, for many emails: a receipt for each, in order; one transaction; no email touches another."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from django.contrib.auth import get_user_model
from django.db import DataError, IntegrityError, OperationalError, connection, connections, transaction
from django.db.models import F
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from mails import configuration
from mails.access import api_keys
from mails.dispatch import wake
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.judge import Judge
from mails.intake.receipts import NotStored, RefusalReason, Refused, Stored
from mails.intake.submission import FIELDS, Submission
from mails.lifecycle import writer
from mails.maintenance import old_rows
from mails.models import ApiKey, Content, Event, IdempotencyKey, Mail, Recipient
from mails.states import Source, Status
from mails.suppression import check
from mails.tests.builders import API, COMMAND, HELLO, HERA, IRIS, ZEUS, event_names, submit
from mercury.lib.database import database_clock

IN_COMMITS = pytest.mark.django_db(transaction=True)
TABLES = (Mail, Content, Recipient, Event, IdempotencyKey)


def hand_in(*changes, client=COMMAND):
    """The receipts of a list; each change is that of one email, `key` its idempotency key."""
    fields = [{**HELLO, **change} for change in changes]
    return accept([Submission(fields=each, idempotency_key=each.pop("key", None)) for each in fields], client=client)


def count_rows():
    return [table.objects.count() for table in TABLES]


def outcomes(receipts):
    """Of each receipt a word: stored, replayed, the reason of a refusal, or the error's name."""
    words = []
    for receipt in receipts:
        match receipt:
            case Stored(replayed=replayed):
                words.append("replayed" if replayed else "stored")
            case Refused(reason=reason):
                words.append(reason.value)
            case NotStored(error=error):
                words.append(type(error).__name__)
    return words


@pytest.mark.django_db
def test_no_submission_no_receipt():
    assert accept([], client=COMMAND) == []


@IN_COMMITS
def test_each_submission_has_its_receipt_in_order():
    key, _ = api_keys.create("olimpus", scopes=["mails:send"], senders=[ZEUS])
    client = Client(source=Source.API, api_key=key)
    earlier = submit(client=client, key="earlier").mail

    receipts = hand_in(
        {"subject": "first"},
        {"recipient": "nobody"},
        {"sender": HERA},
        {"key": "earlier"},
        {"key": "earlier", "subject": "other"},
        {"key": " "},
        {"subject": "last", "queue": "bulk"},
        client=client,
    )

    assert outcomes(receipts) == [
        "stored",
        "invalid_mail",
        "sender_not_allowed",
        "replayed",
        "idempotency_key_reused",
        "invalid_idempotency_key",
        "stored",
    ]
    assert [receipts[0].mail.subject, receipts[3].mail.pk, receipts[6].mail.queue] == ["first", earlier.pk, "bulk"]
    assert [receipt.reason.status for receipt in receipts if isinstance(receipt, Refused)] == [400, 403, 422, 400]
    kept = Mail.objects.get(pk=receipts[1].mail_id)
    assert (kept.status, event_names(kept)) == (Status.REJECTED, ["NEW", "BAD REQUEST"])
    assert Mail.objects.count() == 4
    stored = Mail.objects.exclude(pk=earlier.pk).order_by("pk").values_list("pk", flat=True)
    assert list(stored) == [receipts[0].mail.pk, kept.pk, receipts[6].mail.pk]


@IN_COMMITS
def test_the_first_of_two_with_one_key_is_stored_and_the_second_gets_its_receipt():
    first, second, other, last = hand_in({"key": "a"}, {"key": "a"}, {"key": "a", "subject": "other"}, {"key": "b"})

    assert outcomes([first, second, other, last]) == ["stored", "replayed", "idempotency_key_reused", "stored"]
    assert second.mail.pk == first.mail.pk
    assert Mail.objects.count() == IdempotencyKey.objects.count() == 2


@IN_COMMITS
def test_an_invalid_email_uses_up_no_key_of_its_list():
    assert outcomes(hand_in({"key": "a", "recipient": ""}, {"key": "a"}, client=COMMAND)) == ["invalid_mail", "stored"]


@IN_COMMITS
def test_expired_keys_are_taken_over():
    hand_in({"key": "a"}, {"key": "b"}, {"key": "c"})
    IdempotencyKey.objects.exclude(key="c").update(created_at=F("created_at") - dt.timedelta(hours=24))

    receipts = hand_in({"key": "a", "subject": "new"}, {"key": "b"}, {"key": "b"}, {"key": "c"})

    assert outcomes(receipts) == ["stored", "stored", "replayed", "replayed"]
    assert set(IdempotencyKey.objects.values_list("key", "mail_id")) == {
        ("a", receipts[0].mail.pk),
        ("b", receipts[1].mail.pk),
        ("c", receipts[3].mail.pk),
    }


@IN_COMMITS
def test_queues_are_woken_once_after_the_commit(monkeypatch):
    woken = []
    monkeypatch.setattr(wake, "wake_workers", lambda queue: woken.append((queue, connection.in_atomic_block)))

    hand_in({}, {"queue": "bulk"}, {"key": "a"}, {"recipient": ""}, client=any_sender())

    assert woken == [("bulk", False), ("text", False)]


def any_sender():
    """An application that may send as anybody."""
    return Client(source=Source.API, api_key=api_keys.create("all", scopes=["mails:send"], senders=["*"])[0])


@IN_COMMITS
def test_only_rejected_emails_wake_nobody(monkeypatch):
    woken = []
    monkeypatch.setattr(wake, "wake_workers", woken.append)

    hand_in({"recipient": ""}, {"sender": ""}, client=API)

    assert woken == []
    assert Mail.objects.count() == 2


# Statements of one call: for many emails as for one, and as many as when intake took a single email.
STATEMENTS = {
    "postgresql": {"plain": 1, "key": 4, "replayed": 4, "reused": 4, "expired": 4, "rejected": 1, "mixed": 5},
    "sqlite": {"plain": 6, "key": 7, "replayed": 4, "reused": 4, "expired": 7, "rejected": 5, "mixed": 8},
}


@IN_COMMITS
@pytest.mark.parametrize("number", [1, 100])
def test_a_thousand_emails_need_as_many_statements_as_one(number, monkeypatch):
    monkeypatch.setattr(database_clock, "REFRESH", 60.0)
    monkeypatch.setattr(configuration, "FRESH", 60.0)
    monkeypatch.setattr(check, "LOOK_EVERY", 60.0)
    client = any_sender()
    subjects = [{"subject": str(position)} for position in range(number)]
    with_keys = [{"key": f"k{position}", **subject} for position, subject in enumerate(subjects)]
    counted = {}

    def count(name, changes, expected):
        with CaptureQueriesContext(connection) as queries:
            receipts = hand_in(*changes, client=client)
        counted[name] = len(queries)
        assert outcomes(receipts) == [expected] * len(receipts)

    hand_in({}, client=client)  # reads the clock of the database
    count("plain", subjects, "stored")
    count("key", with_keys, "stored")
    count("replayed", with_keys, "replayed")
    count("reused", [{**change, "subject": "x"} for change in with_keys], "idempotency_key_reused")
    IdempotencyKey.objects.update(created_at=F("created_at") - dt.timedelta(hours=24))
    count("expired", with_keys, "stored")
    count("rejected", [{"sender": ""}] * number, "invalid_mail")
    with CaptureQueriesContext(connection) as queries:
        hand_in(*subjects * 9, *with_keys, {"sender": ""}, client=client)  # 1,001 emails for 100
    counted["mixed"] = len(queries)

    assert counted == STATEMENTS[connection.vendor]


@pytest.mark.django_db
def test_the_allowed_senders_of_a_person_are_read_once(django_assert_num_queries):
    person = get_user_model().objects.create_user("zeus")
    client = Client(source=Source.FORM, user=person)

    hand_in({}, client=client)  # reads the clock of the database

    with django_assert_num_queries(1):
        receipts = hand_in(*[{}] * 10, client=client)

    assert outcomes(receipts) == ["sender_not_allowed"] * 10


def make_unstorable(monkeypatch, *subjects, error=DataError):
    """Let the database refuse emails with these subjects."""
    store = writer._store

    def refuse(new):
        if any(draft.mail.subject in subjects for draft in new):
            raise error("value too long")
        store(new)

    monkeypatch.setattr(writer, "_store", refuse)


@IN_COMMITS
@pytest.mark.parametrize("key", [None, "a"])
def test_an_email_that_the_database_refuses_leaves_the_others_stored(key, monkeypatch):
    make_unstorable(monkeypatch, "bad", "worse")
    woken = []
    monkeypatch.setattr(wake, "wake_workers", woken.append)
    subjects = ["1", "bad", "2", "3", "worse", "4", "5"]

    receipts = hand_in(*[{"subject": subject, "key": key and f"{key}{subject}"} for subject in subjects])

    assert outcomes(receipts) == ["stored", "DataError", "stored", "stored", "DataError", "stored", "stored"]
    assert sorted(Mail.objects.values_list("subject", flat=True)) == ["1", "2", "3", "4", "5"]
    assert IdempotencyKey.objects.count() == (5 if key else 0)
    assert woken == ["text"]


@IN_COMMITS
def test_the_database_itself_refuses_one_of_many(monkeypatch):
    build = Judge._build_mail

    def build_without_time(*arguments):
        new = build(*arguments)
        return replace(new, state=new.state._replace(next_attempt_at=None)) if new.mail.subject == "3" else new

    monkeypatch.setattr(Judge, "_build_mail", build_without_time)  # a CHECK of the table forbids it

    receipts = hand_in({"subject": "1"}, {"subject": "2"}, {"subject": "3"}, {"subject": "4"})

    assert outcomes(receipts) == ["stored", "stored", "IntegrityError", "stored"]
    assert sorted(Mail.objects.values_list("subject", flat=True)) == ["1", "2", "4"]
    assert Content.objects.count() == Recipient.objects.count() == 3


@IN_COMMITS
def test_after_a_failure_in_the_middle_of_the_search_nothing_is_stored(monkeypatch):
    make_unstorable(monkeypatch, "bad")
    refuse = writer._store

    def fail_at_last(new):
        if [draft.mail.subject for draft in new][-1:] == ["last"] and len(new) == 2:
            raise OperationalError("the server closed the connection")
        refuse(new)

    monkeypatch.setattr(writer, "_store", fail_at_last)

    with pytest.raises(OperationalError):
        hand_in({"key": "a"}, {"subject": "bad"}, {"key": "b"}, {"subject": "last"})

    assert count_rows() == [0] * len(TABLES)


@IN_COMMITS
@pytest.mark.parametrize("size", [2, 40_000])
def test_if_the_commit_fails_nothing_is_stored(size, monkeypatch):
    """As a client that is deleted at the same moment has it: foreign keys are checked at the commit."""
    gone, _ = api_keys.create("gone", scopes=["mails:send"], senders=["*"])
    ApiKey.objects.filter(pk=gone.pk).delete()
    woken = []
    monkeypatch.setattr(wake, "wake_workers", woken.append)

    with pytest.raises(IntegrityError):
        hand_in(
            {"key": "a"}, {"content": "x" * size}, {"content": "x" * size}, {"sender": ""},
            client=Client(source=Source.API, api_key=gone),
        )  # fmt: skip

    assert count_rows() == [0] * len(TABLES)
    assert woken == []


@IN_COMMITS
def test_lists_with_common_keys_at_the_same_moment_store_each_once():
    keys = [f"k{number}" for number in range(20)]
    barrier = threading.Barrier(4)

    def hand_in_keys(number):
        barrier.wait(10)
        try:
            ordered = keys if number % 2 else keys[::-1]
            return hand_in(*[{"key": key, "subject": key, "content": "x" * 8000} for key in ordered])  # each apart
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        lists = list(pool.map(hand_in_keys, range(4), timeout=30))

    receipts = [receipt for one_list in lists for receipt in one_list]
    assert set(outcomes(receipts)) <= {"stored", "replayed", "idempotency_key_in_use"}
    assert outcomes(receipts).count("stored") == Mail.objects.count()
    assert Mail.objects.values("subject").distinct().count() == Mail.objects.count() <= 20
    again = hand_in(*[{"key": key, "subject": key, "content": "x" * 8000} for key in keys])
    assert set(outcomes(again)) <= {"stored", "replayed"}
    assert Mail.objects.count() == 20


@IN_COMMITS
def test_lists_with_expired_keys_in_common_wait_for_nobody():
    if connection.vendor != "postgresql":
        assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"  # writers wait for each other
        return
    hand_in({"key": "a"}, {"key": "b"})
    IdempotencyKey.objects.update(created_at=F("created_at") - dt.timedelta(hours=24))

    def other():
        try:
            return hand_in({"key": "b"}, {"key": "a"}, {"key": "c"})
        finally:
            connections.close_all()

    with transaction.atomic():
        first = hand_in({"key": "a"}, {"key": "b"})
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(other).result(timeout=10)

    assert outcomes(first) == ["stored", "stored"]
    assert outcomes(second) == ["idempotency_key_in_use", "idempotency_key_in_use", "stored"]


@IN_COMMITS
def test_an_expired_key_that_is_being_taken_over_is_not_deleted():
    if connection.vendor != "postgresql":
        assert connection.settings_dict["OPTIONS"]["transaction_mode"] == "IMMEDIATE"  # writers wait for each other
        return
    hand_in({"key": "a"}, {"key": "b"})
    IdempotencyKey.objects.update(created_at=F("created_at") - dt.timedelta(hours=25))

    def remove():
        try:
            return old_rows.remove(seconds=10)
        finally:
            connections.close_all()

    with transaction.atomic():
        (receipt,) = hand_in({"key": "a"})
        with ThreadPoolExecutor(1) as pool:
            removed = pool.submit(remove).result(timeout=10)

    assert removed == 1
    assert IdempotencyKey.objects.get().mail_id == receipt.mail.pk


_hostile_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None), max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
_hostile = st.dictionaries(st.sampled_from([*FIELDS, "x\0"]), _hostile_values, max_size=4).map(
    lambda some: {**HELLO, **some}
)
_keys = st.none() | st.sampled_from(["a", "b"]) | st.text(st.characters(codec=None), max_size=5)


class AnyList(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.client_of_api = any_sender()

    @settings(max_examples=80, deadline=None)
    @given(st.lists(st.tuples(_hostile, _keys), min_size=1, max_size=6), st.data())
    def test_hostile_values_never_touch_another_email(self, hostile, data):
        submissions = [Submission(fields=fields, idempotency_key=key) for fields, key in hostile]
        position = data.draw(st.integers(0, len(submissions)))
        submissions.insert(position, Submission(fields={**HELLO, "recipient": [HERA, IRIS]}))

        receipts = accept(submissions, client=self.client_of_api)

        assert len(receipts) == len(submissions)
        assert all(isinstance(receipt, Stored | Refused) for receipt in receipts)
        good = Mail.objects.get(pk=receipts[position].mail.pk)
        assert (good.status, good.sender, good.subject, good.content.text) == (
            Status.QUEUED,
            ZEUS,
            HELLO["subject"],
            "Hi",
        )
        assert list(good.recipients.values_list("address", flat=True)) == [HERA, IRIS]
        assert event_names(good) == ["NEW", "ACCEPTED", "ENQUEUE"]
        for receipt in receipts:
            if isinstance(receipt, Refused) and receipt.reason == RefusalReason.INVALID_MAIL:
                assert Mail.objects.get(pk=receipt.mail_id).status == Status.REJECTED
