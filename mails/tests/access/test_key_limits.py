"""The limits of a key: exact over threads and processes, taken by what is stored, and by nothing else."""

import datetime as dt
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from mails.access import api_keys, key_limits
from mails.access.key_limits import LimitName, Limits, Usage, choose_fitting
from mails.intake.accept import accept
from mails.intake.client import Client
from mails.intake.receipts import RefusalReason, Refused, Stored
from mails.intake.submission import Submission
from mails.lifecycle import writer
from mails.models import IdempotencyKey, KeyUsage, Mail, Recipient
from mails.states import Source
from mails.tests.builders import HELLO, HERA, IRIS, ZEUS
from mails.tests.callers import MAILS, caller, problem
from mercury.lib.database import database_clock

NOON = dt.datetime(2026, 11, 30, 12, 0, 10, tzinfo=dt.UTC)
IN_COMMITS = pytest.mark.django_db(transaction=True)


@pytest.fixture
def clock(monkeypatch):
    """The database's clock, which the test sets; ten seconds past noon."""
    moments = [NOON]
    monkeypatch.setattr(database_clock, "now_ns", lambda: int(moments[0].timestamp()) * 10**9)
    return moments


def a_client(emails=None, recipients=None):
    """A client application whose key has these limits."""
    key, _ = api_keys.create(
        "olimpus",
        scopes=["mails:send"],
        senders=[ZEUS],
        emails_per_minute=emails,
        recipients_per_day=recipients,
    )
    return Client(source=Source.API, api_key=key)


def hand_in(client, *changes):
    """The receipts of a list; each change is that of one email, `key` its idempotency key."""
    fields = [{**HELLO, **change} for change in changes]
    return accept([Submission(fields=each, idempotency_key=each.pop("key", None)) for each in fields], client=client)


def words(receipts):
    """Of each receipt a word: stored, replayed, or the reason of the refusal."""
    return [
        ("replayed" if receipt.replayed else "stored") if isinstance(receipt, Stored) else receipt.reason.value
        for receipt in receipts
    ]


def many(count):
    """As many recipients."""
    return {"recipient": [f"hera{number}@olimpus.com" for number in range(count)]}


@pytest.mark.parametrize(
    ("limits", "used", "recipients", "exceeded"),
    [
        (Limits(emails=2, recipients=None), Usage(), [1, 1, 1], [None, None, LimitName.EMAILS]),
        (Limits(emails=2, recipients=None), Usage(emails=2), [1], [LimitName.EMAILS]),
        (Limits(emails=None, recipients=5), Usage(), [3, 3, 2], [None, LimitName.RECIPIENTS, None]),
        (Limits(emails=1, recipients=5), Usage(recipients=5), [1], [LimitName.RECIPIENTS]),
        (Limits(emails=None, recipients=5), Usage(), [6], [LimitName.RECIPIENTS]),
        (Limits(emails=1, recipients=1), Usage(), [], []),
    ],
)
def test_each_email_that_fits_is_taken_in_order(limits, used, recipients, exceeded):
    assert list(choose_fitting(limits, used, recipients)[0]) == exceeded


@IN_COMMITS
def test_emails_beyond_the_minute_are_refused_and_the_next_minute_begins_at_zero(clock):
    client = a_client(emails=2)

    first = hand_in(client, {}, {}, {})
    clock[0] += dt.timedelta(seconds=49)
    late = hand_in(client, {})
    clock[0] += dt.timedelta(seconds=1)
    next_minute = hand_in(client, {}, {}, {})

    assert words(first) == ["stored", "stored", "limit_reached"]
    assert words(late) == ["limit_reached"]
    assert late[0].retry_after == 1
    assert words(next_minute) == ["stored", "stored", "limit_reached"]
    assert Mail.objects.count() == 4


@IN_COMMITS
def test_recipients_of_a_day_count_until_midnight_utc(clock):
    client = a_client(recipients=5)

    receipts = hand_in(client, many(3), many(3), {"recipient": HERA, "cc": IRIS, "bcc": ZEUS}, {"cc": IRIS})
    clock[0] = dt.datetime(2026, 11, 30, 23, 59, 59, tzinfo=dt.UTC)
    evening = hand_in(client, {})
    clock[0] += dt.timedelta(seconds=1)
    midnight = hand_in(client, many(5))

    assert words(receipts) == ["stored", "limit_reached", "limit_reached", "stored"]
    assert words(evening) == ["limit_reached"]
    assert evening[0].retry_after == 1
    assert words(midnight) == ["stored"]


@IN_COMMITS
def test_an_email_with_more_recipients_than_a_day_has_says_that_it_never_fits():
    receipt = hand_in(a_client(recipients=2), many(3))[0]

    assert receipt.reason == RefusalReason.ABOVE_LIMIT
    assert receipt.reason.status == 413
    assert receipt.retry_after is None
    assert "never fits" in receipt.detail


@IN_COMMITS
def test_a_replayed_key_takes_nothing_and_gets_its_answer_when_nothing_is_left(clock):
    client = a_client(emails=2, recipients=2)

    first = hand_in(client, {"key": "one"})
    again = hand_in(client, {"key": "one"}, {"key": "one"}, {"key": "two"}, {"key": "three"})
    full = hand_in(client, {"key": "one"}, {"key": "three"})

    assert words(first) == ["stored"]
    assert words(again) == ["replayed", "replayed", "stored", "limit_reached"]
    assert words(full) == ["replayed", "limit_reached"]
    assert KeyUsage.objects.values_list("emails", "recipients").get() == (2, 2)


@IN_COMMITS
def test_a_refused_email_uses_up_no_idempotency_key(clock):
    client = a_client(emails=1)
    refused = hand_in(client, {}, {"key": "order-17"})

    clock[0] += dt.timedelta(minutes=1)
    later = hand_in(client, {"key": "order-17"})

    assert words(refused) == ["stored", "limit_reached"]
    assert words(later) == ["stored"]
    assert IdempotencyKey.objects.get().mail_id == later[0].mail.pk


@IN_COMMITS
def test_a_store_that_fails_takes_nothing(monkeypatch):
    client = a_client(emails=10)
    hand_in(client, {})
    with transaction.atomic():
        hand_in(client, {}, {})
        transaction.set_rollback(True)
    assert KeyUsage.objects.get().emails == 1
    store = writer._store

    def refuse_second(new):
        if any(draft.message.subject == "second" for draft in new):
            raise IntegrityError
        store(new)

    monkeypatch.setattr(writer, "_store", refuse_second)

    receipts = hand_in(client, {"subject": "first"}, {"subject": "second"}, {"subject": "third"})

    assert [type(receipt).__name__ for receipt in receipts] == ["Stored", "NotStored", "Stored"]
    assert KeyUsage.objects.get().emails == 3


@IN_COMMITS
def test_a_rejected_email_takes_nothing_and_is_kept_when_nothing_is_left():
    client = a_client(emails=1)

    receipts = hand_in(client, {"recipient": "nobody"}, {}, {"recipient": "nobody"})

    assert words(receipts) == ["invalid_mail", "stored", "invalid_mail"]
    assert KeyUsage.objects.get().emails == 1
    assert Mail.objects.count() == 3


@IN_COMMITS
def test_a_process_whose_clock_is_a_moment_behind_counts_in_the_minute_that_others_began(clock):
    client = a_client(emails=2)
    clock[0] = NOON.replace(second=0)
    hand_in(client, {}, {})

    clock[0] -= dt.timedelta(seconds=1)

    assert words(hand_in(client, {})) == ["limit_reached"]


@IN_COMMITS
def test_a_clock_that_is_set_back_locks_nobody_out(clock):
    client = a_client(emails=1, recipients=1)
    hand_in(client, {})

    clock[0] -= dt.timedelta(days=3)

    assert words(hand_in(client, {}, {})) == ["stored", "limit_reached"]


@IN_COMMITS
def test_a_lowered_limit_applies_to_the_next_email_and_a_raised_one_gives_what_is_more(clock):
    client = a_client(emails=3)
    hand_in(client, {}, {})

    client.api_key.emails_per_minute = 1
    lowered = hand_in(client, {})
    client.api_key.emails_per_minute = 4
    raised = hand_in(client, {}, {}, {})

    assert words(lowered) == ["limit_reached"]
    assert words(raised) == ["stored", "stored", "limit_reached"]


@IN_COMMITS
def test_a_key_without_limits_has_no_row_and_costs_no_query():
    without, limited = a_client(), a_client(emails=100)
    hand_in(without, {}), hand_in(limited, {})

    with CaptureQueriesContext(connection) as plain:
        hand_in(without, {})
    with CaptureQueriesContext(connection) as counted:
        hand_in(limited, {})

    assert not any("keyusage" in query["sql"] for query in plain)
    assert sum("keyusage" in query["sql"] for query in counted) == 1
    assert KeyUsage.objects.count() == 1


@IN_COMMITS
def test_of_many_threads_exactly_the_limit_is_accepted(clock):
    client = a_client(emails=20, recipients=30)

    def work(_):
        try:
            return words(hand_in(client, {}, {"cc": IRIS}))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        found = [word for each in pool.map(work, range(24)) for word in each]

    assert found.count("stored") == Mail.objects.count() == 20
    assert KeyUsage.objects.get().recipients == Recipient.objects.count() <= 30


def wait_for_a_lock_waiter():
    """Return once another connection waits for a lock, or after ten seconds."""
    with connection.cursor() as cursor:
        for _ in range(2000):
            cursor.execute("SELECT pg_sleep(0.005)")
            cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
            if cursor.fetchone():
                return


@IN_COMMITS
def test_a_process_that_waits_for_another_counts_what_that_has_stored(clock, monkeypatch):
    """The order is forced: the second one asks while the first has counted, and not yet committed."""
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    client, counted, found, take = a_client(emails=3), threading.Event(), {}, key_limits.take
    hand_in(client, {})

    def take_and_wait(*arguments, **options):
        taken = take(*arguments, **options)
        if threading.current_thread().name == "first":
            counted.set()
            wait_for_a_lock_waiter()
        return taken

    def work(name):
        try:
            if name == "second":
                counted.wait(10)
            with transaction.atomic():  # each as a process of its own: they share no transaction
                found[name] = words(hand_in(client, {}, {}))
        finally:
            connections.close_all()

    monkeypatch.setattr(key_limits, "take", take_and_wait)
    threads = [threading.Thread(target=work, args=(name,), name=name) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert found == {"first": ["stored", "stored"], "second": ["limit_reached", "limit_reached"]}
    assert Mail.objects.count() == 3


class TestAnyList(TestCase):
    """Lists of any emails, against any limits."""

    @settings(max_examples=60, deadline=None)
    @given(
        emails=st.one_of(st.none(), st.integers(1, 8)),
        recipients=st.one_of(st.none(), st.integers(1, 12)),
        lists=st.lists(
            st.lists(st.tuples(st.integers(1, 5), st.sampled_from([None, "a", "b", "c"])), max_size=6), max_size=4
        ),
    )
    def test_no_more_is_stored_than_the_limits_allow_and_what_is_used_is_what_is_stored(
        self, emails, recipients, lists
    ):
        client = a_client(emails, recipients)
        before = database_clock.now_ns
        database_clock.now_ns = lambda: int(NOON.timestamp()) * 10**9
        try:
            for each in lists:
                receipts = hand_in(client, *({**many(count), **({"key": key} if key else {})} for count, key in each))
                assert len(receipts) == len(each)
        finally:
            database_clock.now_ns = before

        stored = Mail.objects.filter(api_key=client.api_key)
        named = Recipient.objects.filter(mail__in=stored).count()
        assert emails is None or stored.count() <= emails
        assert recipients is None or named <= recipients
        usage = KeyUsage.objects.filter(api_key=client.api_key).first()
        if usage is not None:
            assert (usage.emails, usage.recipients) == (stored.count(), named)


@pytest.mark.django_db
def test_answers_state_what_is_left_of_each_limit(clock):
    zeus = caller(emails_per_minute=2, recipients_per_day=10)

    first, second, third = (zeus.post(MAILS, {**HELLO, "cc": IRIS}) for _ in range(3))

    assert first["RateLimit-Policy"] == '"emails-per-minute";q=2;w=60, "recipients-per-day";q=10;w=86400'
    assert first["RateLimit"] == '"emails-per-minute";r=1;t=50, "recipients-per-day";r=8;t=43190'
    assert second.status_code == 202
    found = problem(third, 429, "limit_reached")
    assert third["Retry-After"] == "50"
    assert third["RateLimit"] == '"emails-per-minute";r=0;t=50, "recipients-per-day";r=6;t=43190'
    assert found["detail"] == (
        "This key may send 2 emails in a minute, and 0 are left; this email was not stored. Send it again in 50 s. "
        "If the application needs more, an operator can raise the limit."
    )
    assert Mail.objects.count() == 2


@pytest.mark.django_db
def test_the_rate_and_the_limits_are_stated_together():
    zeus = caller(rate="10/m", recipients_per_day=10)

    answer = zeus.post(MAILS, HELLO)

    assert answer["RateLimit-Policy"] == '"key";q=10;w=60, "recipients-per-day";q=10;w=86400'
    assert answer["RateLimit"].startswith('"key";r=9;t=')


@pytest.mark.django_db
def test_an_email_that_never_fits_is_a_413(clock):
    found = problem(caller(recipients_per_day=1).post(MAILS, {**HELLO, "cc": IRIS}), 413, "above_limit")

    assert "so it never fits" in found["detail"]


@pytest.mark.django_db
def test_of_a_batch_those_that_fit_are_stored_and_each_other_has_its_error(clock):
    zeus = caller(emails_per_minute=2)

    answer = zeus.post(f"{MAILS}batch", [HELLO, {**HELLO, "recipient": "nobody"}, HELLO, HELLO])

    assert answer.status_code == 207
    body = answer.json()
    assert [result["status"] for result in body["results"]] == [202, 400, 202, 429]
    assert body["results"][3]["code"] == "limit_reached"
    assert answer["Retry-After"] == "50"
    assert answer["RateLimit"] == '"emails-per-minute";r=0;t=50'


@pytest.mark.parametrize("limit", [0, -1, api_keys.MAX_LIMIT + 1])
def test_a_limit_out_of_range_is_refused_with_the_remedy(limit):
    with pytest.raises(ValueError, match="revoke it" if limit == 0 else "from 1 to"):
        api_keys.check_limit(limit)


def test_refused_is_a_receipt_with_its_limits():
    assert Refused(reason=RefusalReason.LIMIT_REACHED, detail="").limits == ()
