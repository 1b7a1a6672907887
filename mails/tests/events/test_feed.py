"""The feed gives a client each event of its emails once, in order, whatever commits late and however many are others'."""

import datetime as dt
import uuid

import pytest
from django.contrib.auth.models import AnonymousUser, Permission, User

from mails.access import api_keys
from mails.events import feed
from mails.events.feed import CursorAhead, read_page
from mails.intake.client import Client
from mails.models import Event, Mail
from mails.states import Source
from mails.tests import people
from mails.tests.builders import ZEUS, a_mail
from mails.tests.events.overlaps import needs_overlaps, uncommitted
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop() -> Client:
    key, _ = api_keys.create("shop", scopes=["mails:send", "mails:read"], senders=[ZEUS])
    return Client(source=Source.API, api_key=key)


def visible_to(client: Client):
    return Mail.objects.visible_to(api_key=client.api_key, user=client.user)


def ids_of(*mails: Mail) -> list[int]:
    return list(Event.objects.filter(mail__in=mails).order_by("pk").values_list("pk", flat=True))


def append(mail: Mail, name: str, blob: str = "") -> Event:
    return Event.objects.create(mail=mail, created_at=database_clock.now_ns(), created_by="test", event=name, blob=blob)


def follow(client: Client, *, limit: int = 100, after: int = 0, **filters) -> tuple[list[int], int]:
    """The ids of all pages, and how many pages there were."""
    found: list[int] = []
    for pages in range(1, 100):
        page = read_page(visible_to(client), after=after, limit=limit, **filters)
        found += [event.pk for event in page.events]
        after = page.cursor
        if not page.more:
            return found, pages
    raise AssertionError("the feed does not end")


def test_a_client_gets_the_events_of_its_own_emails_in_order(shop):
    other, first, second = a_mail(), a_mail(shop), a_mail(shop)
    append(first, "seen")

    assert follow(shop)[0] == ids_of(first, second)
    assert other.events.exists()


def test_pages_follow_each_other_without_a_gap_and_without_a_repeat(shop):
    mails = [a_mail(shop) for _ in range(3)]

    found, pages = follow(shop, limit=4)

    assert found == ids_of(*mails)
    assert pages == 3


def test_when_nothing_is_new_the_cursor_stays(shop):
    a_mail(shop)
    end = read_page(visible_to(shop), after=0, limit=100).cursor

    page = read_page(visible_to(shop), after=end, limit=100)

    assert (list(page.events), page.cursor, page.more) == ([], end, False)


def test_events_of_others_move_the_cursor_of_an_empty_page(shop):
    end = read_page(visible_to(shop), after=0, limit=100).cursor
    last = ids_of(a_mail())[-1]

    page = read_page(visible_to(shop), after=end, limit=100)

    assert (list(page.events), page.cursor, page.more) == ([], last, False)


def test_a_page_looks_at_a_limited_number_of_events_and_says_that_there_are_more(shop, monkeypatch):
    monkeypatch.setattr(feed, "LOOKED_AT", 4)
    start = ids_of(a_mail())[-1]
    [a_mail() for _ in range(4)]
    mail = a_mail(shop)

    first = read_page(visible_to(shop), after=start, limit=100)
    found, pages = follow(shop, after=start)

    assert (list(first.events), first.more) == ([], True)
    assert found == ids_of(mail)
    assert pages == 4


@needs_overlaps
def test_an_event_that_commits_late_is_not_missed(shop, monkeypatch):
    monkeypatch.setattr(feed, "WAIT", 0)
    mail = a_mail(shop)
    start = read_page(visible_to(shop), after=0, limit=100).cursor

    with uncommitted(lambda: append(mail, "late")) as commit:
        append(mail, "early")
        while_open = read_page(visible_to(shop), after=start, limit=100)
        commit.set()
    after = read_page(visible_to(shop), after=while_open.cursor, limit=100)

    assert (list(while_open.events), while_open.cursor) == ([], start)
    assert [event.event for event in after.events] == ["late", "early"]


@needs_overlaps
def test_a_process_that_knows_of_less_does_not_move_a_cursor_back(shop, monkeypatch):
    monkeypatch.setattr(feed, "WAIT", 0)
    mail = a_mail(shop)
    with uncommitted(lambda: append(mail, "late")):
        read_page(visible_to(shop), after=0, limit=100)
        cursor = append(mail, "seen by another process").pk
        append(mail, "newest")
        page = read_page(visible_to(shop), after=cursor, limit=100)

    assert (list(page.events), page.cursor, page.more) == ([], cursor, False)


def test_a_cursor_beyond_the_last_event_is_refused(shop):
    last = ids_of(a_mail(shop))[-1]

    with pytest.raises(CursorAhead):
        read_page(visible_to(shop), after=last + 1, limit=100)


def test_a_page_holds_a_limited_amount_of_text_and_one_event_at_least(shop, monkeypatch):
    monkeypatch.setattr(feed, "MOST_TEXT", 10)
    mail = a_mail(shop)
    start = ids_of(mail)[-1]
    written = [append(mail, "seen", blob).pk for blob in ("x" * 6, "x" * 6, "x" * 30, "x")]

    assert [event.pk for event in read_page(visible_to(shop), after=start, limit=100).events] == written[:1]
    assert follow(shop, after=start) == (written, 4)


def test_events_are_chosen_by_name_and_email(shop):
    mail, other = a_mail(shop), a_mail(shop)
    foreign = a_mail()
    seen = [append(one, "seen").pk for one in (mail, other, foreign)]

    assert follow(shop, names=["seen", "read"])[0] == seen[:2]
    assert follow(shop, mail_id=mail.pk)[0] == ids_of(mail)
    assert follow(shop, mail_id=mail.pk, names=["seen"])[0] == seen[:1]
    assert follow(shop, mail_id=foreign.pk)[0] == []


def test_people_see_the_events_of_their_own_emails_or_with_the_permission_of_all(shop):
    zeus = people.zeus(ZEUS)
    own, foreign = a_mail(Client(source=Source.FORM, user=zeus)), a_mail(shop)
    assert follow(Client(source=Source.FORM, user=zeus))[0] == ids_of(own)

    zeus.user_permissions.add(Permission.objects.get(codename="view_mail"))
    zeus = User.objects.get(pk=zeus.pk)
    assert follow(Client(source=Source.FORM, user=zeus))[0] == ids_of(own, foreign)
    assert not read_page(Mail.objects.visible_to(api_key=None, user=AnonymousUser()), after=0, limit=9).events


def test_a_start_is_before_all_events_since_a_moment_and_near_them():
    now = database_clock.now()
    for age in (90, 60, 30, 2, 1, 0):
        recorded = database_clock.now_ns() - age * 60 * 10**9
        Event.objects.create(mail_id=uuid.uuid4(), created_at=recorded, created_by="test", event=f"{age} min ago")

    start = feed.find_start(now - dt.timedelta(minutes=45))

    after = Event.objects.filter(pk__gt=start).order_by("pk").values_list("event", flat=True)
    assert list(after) == ["30 min ago", "2 min ago", "1 min ago", "0 min ago"]


def test_the_first_page_before_the_first_event_has_a_cursor(shop):
    start = feed.find_start(database_clock.now())
    empty = read_page(visible_to(shop), after=start, limit=100)
    mail = a_mail(shop)

    assert (list(empty.events), empty.more) == ([], False)
    assert follow(shop, after=empty.cursor)[0] == ids_of(mail)
