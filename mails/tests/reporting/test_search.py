"""The words of search, and pages by key."""

import datetime as dt

import pytest
from django.db import connection

from mails.models import Mail
from mails.reporting import search
from mails.tests.builders import IRIS, a_mail

pytestmark = pytest.mark.django_db


def found(words: str) -> set[str]:
    return {mail.subject for mail in search.narrow(Mail.objects.all(), words)}


@pytest.fixture(autouse=True)
def two_mails():
    a_mail(subject="Invoice")
    a_mail(subject="Welcome", recipient=IRIS, sender="billing@olimpus.com")


@pytest.mark.parametrize(
    ("words", "subjects"),
    [
        ("", {"Invoice", "Welcome"}),
        ("invoice", {"Invoice"}),
        ("iris@", {"Welcome"}),
        ("to:iris", {"Welcome"}),
        ("from:billing", {"Welcome"}),
        ("subject:voice", {"Invoice"}),
        ("olimpus to:hera", {"Invoice"}),
        ("provider:olympus", set()),
        ("reason:550", set()),
        ("app:billing", set()),
        ("after:2020-01-01", {"Invoice", "Welcome"}),
        ("before:2020-01-01T10:00+02:00", set()),
        ("nobody", set()),
    ],
)
def test_words_narrow(words, subjects):
    assert found(words) == subjects


def test_an_id_is_found_by_its_beginning():
    mail = Mail.objects.get(subject="Invoice")

    assert found(f"id:{mail.pk}") == {"Invoice"}
    assert found(str(mail.pk)) == {"Invoice"}
    assert found(f"id:{str(mail.pk)[:4]}") == {"Invoice", "Welcome"}


@pytest.mark.parametrize("words", ["colour:red", "id:zeus", "to:", "after:yesterday"])
def test_what_search_cannot_read_is_named_with_what_it_knows(words):
    with pytest.raises(search.UnknownSearchWord) as caught:
        found(words)

    assert words.partition(":")[0] in str(caught.value) or words.partition(":")[2] in str(caught.value)


def test_an_unknown_prefix_is_answered_with_the_list():
    with pytest.raises(search.UnknownSearchWord, match="to: from: subject: provider: reason: id:"):
        found("colour:red")


def test_ages_are_ranges_of_the_primary_key():
    now = dt.datetime.now(dt.UTC)

    assert search.filter_since(Mail.objects.all(), dt.timedelta(hours=1), now).count() == 2
    assert search.filter_since(Mail.objects.all(), dt.timedelta(hours=1), now + dt.timedelta(days=1)).count() == 0


def test_every_state_is_in_exactly_one_list():
    for mail in Mail.objects.all():
        lists = [
            name for name, (_words, condition) in search.STATES.items() if Mail.objects.filter(condition, pk=mail.pk)
        ]
        assert lists == ["queued"]


def test_pages_lead_to_each_other_without_counting():
    for number in range(5):
        a_mail(subject=str(number))
    mails = Mail.objects.all()

    first = search.load_page(mails, size=3)
    second = search.load_page(mails, before=str(first.older), size=3)
    third = search.load_page(mails, before=str(second.older), size=3)
    back = search.load_page(mails, after=str(second.newer), size=3)

    assert [mail.subject for mail in first.mails] == ["4", "3", "2"]
    assert [mail.subject for mail in second.mails] == ["1", "0", "Welcome"]
    assert [mail.subject for mail in third.mails] == ["Invoice"]
    assert third.older is None
    assert back == first


def test_a_search_that_reads_emails_stops_and_continues_where_it_stopped(monkeypatch):
    monkeypatch.setattr(search, "REACH", 3)
    for number in range(5):
        a_mail(subject=str(number))
    mails = Mail.objects.all()

    first = search.load_page(mails, "subject:voice")
    second = search.load_page(mails, "subject:voice", before=str(first.older))
    third = search.load_page(mails, "subject:voice", before=str(second.older))

    assert (first.mails, first.looked_back, first.reach) == ([], True, 3)
    assert (second.mails, second.looked_back) == ([], True)
    assert ([mail.subject for mail in third.mails], third.older, third.stopped_at) == (["Invoice"], None, None)
    assert [mail.subject for mail in search.load_page(mails, "subject:voice", far=True).mails] == ["Invoice"]


def test_a_search_upwards_stops_as_well(monkeypatch):
    monkeypatch.setattr(search, "REACH", 2)
    for number in range(4):
        a_mail(subject=str(number))
    invoice = Mail.objects.get(subject="Invoice")

    found = search.load_page(Mail.objects.all(), "subject:3", after=str(invoice.pk))

    assert (found.mails, found.looked_back) == ([], False)
    assert found.stopped_at is not None
    assert Mail.objects.get(pk=found.newer).subject == "0"


def test_a_search_counts_only_emails_that_match_the_other_filters(monkeypatch):
    monkeypatch.setattr(search, "REACH", 1)
    a_mail(subject="Invoice")
    Mail.objects.filter(subject="Welcome").update(queue="bulk")

    assert len(search.load_page(Mail.objects.filter(queue="bulk"), "subject:come").mails) == 1


@pytest.mark.parametrize("words", ["to:hera@olimpus", "id:0", "after:2020-01-01", "before:2999-01-01"])
def test_what_an_index_serves_is_never_cut(words, monkeypatch):
    monkeypatch.setattr(search, "REACH", 1)

    assert search.load_page(Mail.objects.all(), words, size=1).stopped_at is None


def test_nonsense_for_a_place_gives_the_first_page():
    assert len(search.load_page(Mail.objects.all(), before="zeus", size=3).mails) == 2


def test_counts_stop_at_a_bound():
    assert search.format_count(Mail.objects.all(), 10) == "2"
    assert search.format_count(Mail.objects.all(), 1) == "1+"


@pytest.mark.parametrize("state", ["held", "unknown", "discarded", "expired", "cancelled", "rejected"])
def test_unsent_emails_are_listed_from_an_index_of_their_own(state):
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")  # a table of one page may as well be sorted

    plan = Mail.objects.filter(search.STATES[state][1]).order_by("-pk")[:51].explain()

    assert "mail_set_aside" in plan


@pytest.mark.django_db
def test_a_search_has_at_most_ten_words():
    assert list(search.narrow(Mail.objects.all(), "nobody-wrote-this " * 10)) == []
    with pytest.raises(search.UnknownSearchWord, match="has 11 words; write at most 10"):
        search.narrow(Mail.objects.all(), "a " * 11)
