"""Entries of the list: what adding, removing and expiry do."""

import datetime as dt
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mails.maintenance import expired_suppressions
from mails.message import addresses
from mails.message.addresses import InvalidAddress
from mails.models import Suppression
from mails.states import SuppressionReason
from mails.suppression import check, entries, keys, rules
from mails.suppression.entries import Change
from mails.suppression.rules import InvalidEntry, NewEntry
from mails.tests.builders import HERA, IRIS
from mercury.lib.audit.models import AuditEntry
from mercury.lib.database import database_clock

HOUR = dt.timedelta(hours=1)
SOURCE = "user:hermes"


def put(*new: NewEntry) -> dict[Change, int]:
    return {change: count for change, count in entries.put(new, source=SOURCE).items() if count}


@pytest.mark.django_db
def test_adding_again_changes_nothing_and_another_reason_replaces_the_first() -> None:
    assert put(NewEntry(HERA), NewEntry(IRIS), NewEntry(HERA)) == {Change.ADDED: 2, Change.SKIPPED: 1}
    first = Suppression.objects.get(address=HERA)
    assert put(NewEntry(HERA)) == {Change.SKIPPED: 1}
    assert put(NewEntry(HERA, reason="complaint")) == {Change.UPDATED: 1}
    second = Suppression.objects.get(address=HERA)
    assert (second.pk, second.created_at, second.reason) == (first.pk, first.created_at, "complaint")


@pytest.mark.django_db
def test_one_address_has_an_entry_for_each_scope() -> None:
    assert put(NewEntry(HERA), NewEntry(HERA, scope="olimpus.com")) == {Change.ADDED: 2}


@pytest.mark.django_db
def test_an_expired_entry_begins_anew() -> None:
    now = database_clock.now()
    put(NewEntry(HERA, expires_at=now + HOUR, since=now - HOUR))
    Suppression.objects.update(expires_at=now - HOUR, created_at=now - 2 * HOUR)
    assert put(NewEntry(HERA)) == {Change.ADDED: 1}
    assert Suppression.objects.get().created_at >= now


@pytest.mark.parametrize(
    ("before", "new", "change"),
    [
        (None, None, Change.SKIPPED),
        (None, HOUR, Change.SKIPPED),
        (HOUR, 2 * HOUR, Change.UPDATED),
        (HOUR, None, Change.UPDATED),
        (2 * HOUR, HOUR, Change.SKIPPED),
        (-HOUR, HOUR, Change.ADDED),
        (HOUR, -HOUR, Change.SKIPPED),
    ],
)
def test_a_report_never_shortens_an_entry(before: Any, new: Any, change: Change) -> None:
    now = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
    stored = Suppression(address=HERA, reason="manual", expires_at=before and now + before)
    entry = NewEntry(HERA, reason="complaint", expires_at=new and now + new)
    assert entries.decide(stored, entry, now, may_shorten=False) == change


@pytest.mark.django_db
def test_a_removal_is_recorded() -> None:
    put(NewEntry(HERA, reason="complaint"))
    assert entries.remove(list(Suppression.objects.all()), by="user:iris") == 1
    record = AuditEntry.objects.get()
    assert (record.by, record.act, record.name) == ("user:iris", "delete", HERA)
    assert "complaint" in record.detail
    assert SOURCE in record.detail


@pytest.mark.django_db
def test_expired_entries_are_deleted() -> None:
    now = database_clock.now()
    put(NewEntry(HERA, expires_at=now + HOUR), NewEntry(IRIS))
    Suppression.objects.filter(address=HERA).update(expires_at=now - HOUR)
    expired_suppressions.remove(seconds=0)
    assert [entry.address for entry in Suppression.objects.all()] == [IRIS]


@pytest.mark.django_db(transaction=True)
def test_this_process_looks_again_after_an_entry_was_added() -> None:
    assert not check.may_have_entries()
    put(NewEntry(HERA))
    assert check.may_have_entries()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("*", "everybody"),
        ("@olimpus.com", "whole domain"),
        ("*@olimpus.com", "single addresses only"),
        ("hera", "@"),
        ("", "empty"),
        ("a@b@c", "@"),
        (" * ", "everybody"),
    ],
)
def test_what_is_not_one_address_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidEntry) as refused:
        rules.parse({"address": text})
    assert words in refused.value.errors["address"]


def test_all_errors_are_named() -> None:
    fields = {
        "address": "*",
        "scope": "*",
        "reason": "no",
        "detail": "x" * 501,
        "since": "then",
        "expires": "0",
        "mail": "1",
    }
    with pytest.raises(InvalidEntry) as refused:
        rules.parse(fields)
    assert refused.value.errors.keys() == fields.keys()


_ADDRESSES = st.builds(
    "{}@{}".format,
    st.text(st.sampled_from("aZ0.+-_'äİß\"!= "), min_size=1, max_size=12),
    st.sampled_from(
        ["olimpus.com", "OLIMPUS.com", "bücher.example", "xn--bcher-kva.example", "a-b.c1.org", "a--b.org"]
    ),
)


@given(_ADDRESSES)
@example("zeus.@olimpus.com")
@example("ze..us@olimpus.com")
def test_the_list_compares_addresses_in_the_form_of_intake(text: str) -> None:
    try:
        normal = addresses.normalize(text.strip())
    except InvalidAddress:
        with pytest.raises(InvalidAddress):
            keys.normalize(text)
        return
    assert keys.normalize(text) == keys.fold(normal)
    assert keys.normalize(keys.normalize(text)) == keys.normalize(text)


@pytest.mark.parametrize("reason", SuppressionReason)
def test_each_reason_is_accepted(reason: SuppressionReason) -> None:
    assert rules.parse({"address": HERA, "reason": reason.value}).reason == reason
