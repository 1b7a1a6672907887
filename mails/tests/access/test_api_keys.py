import datetime as dt
import re
from contextlib import closing, contextmanager

import psycopg2
import pytest
from django.db import connection
from django.utils import timezone
from structlog.testing import capture_logs

from mails.access import api_keys
from mails.access.api_keys import Scope
from mails.models import ApiKey

pytestmark = pytest.mark.django_db
DAY = dt.timedelta(days=1)


def zeus(**more):
    return api_keys.create("zeus", scopes=[Scope.MAILS_SEND], senders=["zeus@olimpus.com"], **more)


def test_a_new_key_is_found_by_its_text_and_its_secret_is_not_stored():
    key, text = zeus()

    assert re.fullmatch(r"mk_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", text)
    assert api_keys.find(text) == key
    assert text.split("_", 2)[2] not in str(ApiKey.objects.values().get())
    assert (key.scopes, key.senders) == (["mails:send"], ["zeus@olimpus.com"])


def test_a_key_is_found_with_the_values_that_the_orm_reads():
    made, _ = zeus(rate="600/m", recipients_per_day=1000, expires_at=timezone.now() + DAY)
    _, text = api_keys.rotate(made, DAY)

    key = api_keys.find(text)

    assert ApiKey.objects.values().get() == {name: getattr(key, name) for name in ApiKey.objects.values().get()}


def test_two_keys_differ():
    assert zeus()[1] != zeus()[1]


@pytest.mark.parametrize("text", ["", "mk_", "mk_abc", "Bearer", "mk_abcdefgh_" + "x" * 43, "mk_ÄBCDEFGH_" + "x" * 43])
def test_what_is_no_key_is_not_found(text):
    zeus()

    assert api_keys.find(text) is None


def test_the_right_prefix_with_a_wrong_secret_is_not_found():
    _, text = zeus()

    assert api_keys.find(text[:-1] + ("a" if text[-1] != "a" else "b")) is None


def test_an_expired_key_is_not_found():
    _, text = zeus(expires_at=timezone.now() - DAY)
    _, fresh = zeus(expires_at=timezone.now() + DAY)

    assert api_keys.find(text) is None
    assert api_keys.find(fresh) is not None


def test_a_revoked_key_is_not_found_and_is_revoked_once():
    key, text = zeus()

    assert api_keys.revoke(key) is True
    assert api_keys.revoke(key) is False
    assert api_keys.find(text) is None


def test_a_rotated_key_stays_the_same_key_and_the_old_text_works_for_the_overlap():
    key, old = zeus()

    rotated, new = api_keys.rotate(key, DAY)

    assert rotated.pk == key.pk
    assert api_keys.find(new) == api_keys.find(old) == key
    assert old.split("_")[1] != new.split("_")[1]


def test_a_rotated_keys_old_text_ends_with_the_overlap():
    key, old = zeus()

    api_keys.rotate(key, dt.timedelta(0))

    assert api_keys.find(old) is None


def test_a_revoked_keys_old_text_does_not_work_either():
    key, old = zeus()
    api_keys.rotate(key, DAY)

    api_keys.revoke(key)

    assert api_keys.find(old) is None


def test_an_unknown_scope_is_named_and_nothing_is_stored():
    with pytest.raises(ValueError, match=r"Unknown scope 'mails:burn'\. Known: mails:send"):
        api_keys.create("zeus", scopes=["mails:burn"], senders=[])

    assert not ApiKey.objects.exists()


@pytest.mark.parametrize(
    ("text", "kept"),
    [("", ""), ("none", ""), ("14", "14/s"), (" 600/m ", "600/m"), ("10.0/s", "10/s"), ("100000/d",) * 2],
)
def test_a_rate_is_kept_as_it_is_shown(text, kept):
    key, found = zeus(rate=text)

    assert (key.rate, api_keys.find(found).rate) == (kept, kept)


def test_a_key_is_found_by_its_indexes_however_many_there_are():
    explain = "EXPLAIN"
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            explain = "EXPLAIN QUERY PLAN"
        else:
            cursor.execute("SET LOCAL enable_seqscan = off")  # that of a table of one page
        cursor.execute(f"{explain} {api_keys._SELECT_BY_PREFIX}", ["hera", "hera"])
        plan = str(cursor.fetchall())

    assert "api_key_by_old_prefix" in plan
    assert "apikey_prefix" in plan or "sqlite_autoindex" in plan


def test_finding_a_key_is_one_query_and_its_use_is_noted_once_a_minute(django_assert_num_queries):
    _, text = zeus()

    with django_assert_num_queries(2):
        api_keys.find(text)
    with django_assert_num_queries(1):
        found = api_keys.find(text)

    assert timezone.now() - found.last_used_at < dt.timedelta(minutes=1)


def test_the_secret_is_compared_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(api_keys.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or a == b)
    _, text = zeus()

    api_keys.find(text)

    assert len(compared) == 1


@contextmanager
def database_that_may_only_be_read():
    """As on a replica."""
    on, off = ("PRAGMA query_only = ON", "PRAGMA query_only = OFF")
    if connection.vendor == "postgresql":
        on, off = ("SET default_transaction_read_only = on", "SET default_transaction_read_only = off")
    with connection.cursor() as cursor:
        cursor.execute(on)
        yield
        cursor.execute(off)


@pytest.mark.django_db(transaction=True)
def test_a_key_works_where_its_use_cannot_be_noted(client):
    key, text = api_keys.create("zeus", scopes=[Scope.MAILS_READ], senders=["zeus@olimpus.com"])

    with database_that_may_only_be_read(), capture_logs() as lines:
        answer = client.get("/api/v1.0/mails/", headers={"Authorization": f"Bearer {text}"})

    assert answer.status_code == 200
    assert ApiKey.objects.get().last_used_at is None
    assert [line["key"] for line in lines if line["event"] == "key_use_record_failed"] == [key.prefix]


@pytest.mark.django_db(transaction=True)
def test_a_broken_connection_is_reopened_and_the_query_repeated():
    if connection.vendor != "postgresql":
        assert connection.settings_dict["ENGINE"].endswith("sqlite")  # a file does not hang up
        return
    _, text = zeus()
    connection.ensure_connection()
    with closing(psycopg2.connect(**connection.get_connection_params())) as other, other, other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [connection.connection.info.backend_pid])

    assert api_keys.find(text) is not None
