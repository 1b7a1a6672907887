"""The page of an account shows the outcomes of its calls, in words and figures."""

import datetime as dt
import re
import uuid

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from mails.lifecycle.counters import CounterKey, Counters
from mails.models import Attempt, Mail, Rollup, Worker, first_id
from mails.reporting import recent_attempts
from mails.states import AttemptState, Counted
from mails.tests.builders import a_mail, dispatch
from mails.tests.people import browser_of, hermes
from mercury.console import account_page
from mercury.lib.database import database_clock
from providers.health.breaker import BreakerSnapshot
from providers.models import Breaker

pytestmark = pytest.mark.django_db
NOON = dt.datetime(2026, 11, 24, 12, 3, 20, tzinfo=dt.UTC)
HOUR, MINUTE = dt.timedelta(hours=1), dt.timedelta(minutes=1)


@pytest.fixture
def operator() -> Client:
    return browser_of(hermes())


def page_of(client: Client, one) -> str:
    return client.get(f"/admin/providers/account/{one.account.pk}/change/").text


def facts(one, now: dt.datetime = NOON) -> dict[str, tuple[str, str]]:
    read = account_page.load_account_figures(one.account, BreakerSnapshot.from_row(one.breaker), now)
    return {fact.label: (fact.figure, fact.note) for fact in read.facts}


def count(outcome: str, *, failure_class: str = "", account: str = "olympus", at=NOON, seconds=None, times=1) -> None:
    counters = Counters()
    for _ in range(times):
        counters.count(CounterKey(Counted.CALL, "text", account, outcome=outcome, failure_class=failure_class), seconds)
    Rollup.objects.bulk_create([Rollup(**row) for row in counters.build_rows(at)])


def called(account: str, mail: Mail, *, at: dt.datetime = NOON) -> Attempt:
    number = Attempt.objects.count() + 1
    return Attempt.objects.create(
        id=uuid.UUID(int=first_id(at).int + number),
        mail=mail,
        number=number,
        account=account,
        lease=uuid.uuid4(),
        state=AttemptState.ACCEPTED,
        opened_at=at,
        latency_ms=187,
    )


def test_an_account_without_calls_says_so_in_words(operator, olympus):
    page = page_of(operator, olympus)

    assert "no request in 24 hours" in page
    assert "No email was sent here yet." in page
    assert "No request was accepted in the last 24 hours." in page
    assert "no request was accepted" in page
    assert "<svg class=" not in page.split('id="last-calls-title"')[1].split("history-title")[0]


@pytest.mark.parametrize(
    ("accepted", "failure_class", "is_refusing"), [(0, "account", True), (1, "account", False), (0, "message", False)]
)
def test_an_account_that_refuses_everything_because_of_itself_says_so_first(
    operator, olympus, accepted, failure_class, is_refusing
):
    now = database_clock.now()
    count("refused", failure_class=failure_class, times=48, at=now)
    count("accepted", times=accepted, at=now)

    page = page_of(operator, olympus)

    assert ("It refused 48 requests in the last 5 minutes and accepted none" in page) == is_refusing
    assert ("<strong>Accepting email</strong>" in page) != is_refusing


def test_six_facts_tell_of_the_last_day(olympus, hades):
    count("accepted", seconds=0.187, times=1998, at=NOON - 3 * HOUR)
    count("refused", failure_class="provider", times=2, at=NOON - 2 * MINUTE)
    count("unknown", at=NOON - 2 * HOUR)
    count("accepted", account="hades", times=9)
    count("accepted", times=9, at=NOON - 25 * HOUR)
    Worker.objects.create(id="one", started_at=NOON, seen_at=NOON, concurrency=32)
    a_mail()
    Mail.objects.update(status="sending", lease=uuid.uuid4(), provider="olympus")

    found = facts(olympus)

    assert found["Accepted, 24 h"] == ("1,998", "of 2,001 requests; success 99.9 %")
    assert found["Refused"] == ("2", "2 in the last 5 min")
    assert found["Outcome unknown"] == ("1", "none unconfirmed")
    assert re.fullmatch(r"1[6-9]\d ms|20\d ms", found["p50 / p95 / p99"][0])
    assert found["Limit"] == ("none", "peak 3.3 /s, 10 min from 09:00 UTC")
    assert found["In progress"] == ("1", "of 32 slots")


def test_earlier_refusals_are_listed_by_failure_class(olympus):
    count("refused", failure_class="message", times=3, at=NOON - HOUR)

    assert facts(olympus)["Refused"] == ("3", "all because of the message")
    count("refused", failure_class="rate", times=2, at=NOON - HOUR)
    assert facts(olympus)["Refused"] == ("5", "3 because of the message, 2 by a rate limit")


def test_a_limit_tells_when_it_said_429(olympus):
    olympus.account.rate = 100
    Breaker.objects.update(limited_until=NOON + MINUTE, slots=4)

    found = facts(olympus)

    assert found["Limit"] == ("100 /s", "it asked to wait until 12:04:20 UTC")
    assert found["In progress"] == ("0", "recovering, 4 at once")


def test_held_mails_of_the_account_are_a_click_away(operator, olympus):
    a_mail()
    Mail.objects.update(status="held", reason_code="outcome-unknown", next_attempt_at=None, provider="olympus")

    page = page_of(operator, olympus)

    assert '<a href="/admin/mails/mail/?account=olympus&amp;state=unknown">1 email held</a>' in page


@pytest.mark.django_db(transaction=True)
def test_the_last_calls_are_drawn_summed_up_and_listed(operator, olympus):
    sent = a_mail(subject="Invoice <b>")
    dispatch()
    olympus.refuse(503)
    a_mail(subject="Welcome")
    dispatch()

    page = page_of(operator, olympus)

    assert "The last 2 requests: 1 accepted, 1 refused." in page
    assert re.search(r'<g class="tone-bad"><title>[^<]+ UTC: refused after [^<]+ ms, http-503</title><rect', page)
    assert f'<a href="/admin/mails/mail/{sent.pk}/change/">Invoice &lt;b&gt;</a>' in page
    assert page.count("As a table") == 2


def test_a_call_that_took_no_millisecond_and_one_whose_end_is_not_known_are_listed(olympus):
    mail = a_mail()
    for latency_ms in (0, None, 1, 2400):
        Attempt.objects.filter(pk=called("olympus", mail).pk).update(latency_ms=latency_ms)

    last = account_page.load_account_figures(olympus.account, BreakerSnapshot.from_row(olympus.breaker), NOON).last

    assert [call.took for call in last.attempts] == ["< 1 ms", "–", "1 ms", "2.4 s"]
    assert last.attempts[1].title == "24 Nov, 12:03:20 UTC: accepted"
    assert last.y_labels[0][1] == "0.1 ms"


def test_the_last_calls_of_an_account_that_rests_are_found_behind_those_of_others(olympus, hades, monkeypatch):
    monkeypatch.setattr(recent_attempts, "REACH", 3)
    mail = a_mail()
    called("olympus", mail, at=NOON - HOUR)
    count("accepted", at=NOON - HOUR)
    for _ in range(4):
        called("hades", mail, at=NOON)

    read = account_page.load_account_figures(olympus.account, BreakerSnapshot.from_row(olympus.breaker), NOON)

    assert [call.took for call in read.last.attempts] == ["187 ms"]
    assert read.last.sentence == "The last request: 1 accepted. The height is the response time."


def test_a_search_for_calls_that_stopped_says_so(olympus, hades, monkeypatch):
    monkeypatch.setattr(recent_attempts, "REACH", 2)
    mail = a_mail()
    called("olympus", mail)
    for _ in range(2):
        called("hades", mail)
    none = account_page.load_account_figures(olympus.account, BreakerSnapshot.from_row(olympus.breaker), NOON).last
    called("olympus", mail)

    one = account_page.load_account_figures(olympus.account, BreakerSnapshot.from_row(olympus.breaker), NOON).last

    assert none.sentence == "None of the last 2 requests of all accounts was made here."
    assert "The last request, of the last 2 of all accounts: 1 accepted." in one.sentence


def test_the_banner_of_an_open_breaker_leads_to_the_mails_that_wait(operator, olympus):
    Breaker.objects.update(state="open", opened_at=dt.datetime.now(dt.UTC), open_until=NOON + 365_000 * HOUR)
    a_mail()
    a_mail()
    Mail.objects.update(status="waiting", provider="olympus")

    page = page_of(operator, olympus)
    [(url, words)] = re.findall(r'<a href="([^"]+)">(Show the [^<]+)</a>', page)
    listed = operator.get(url.replace("&amp;", "&")).text

    assert words == "Show the 2 emails waiting to retry"
    assert listed.count('class="subject"') == 2


def test_where_all_mails_went_on_the_banner_leads_to_the_calls(operator, olympus):
    Breaker.objects.update(state="open", opened_at=dt.datetime.now(dt.UTC), open_until=NOON + 365_000 * HOUR)
    called("olympus", a_mail())

    page = page_of(operator, olympus)

    assert '<a href="#last-calls-table">Show its last requests</a>' in page
    assert 'id="last-calls-table"' in page


def test_numbers_that_were_not_counted_to_the_end_say_so(operator, olympus, monkeypatch):
    monkeypatch.setattr(account_page, "COUNTED_AT_MOST", 2)
    Breaker.objects.update(state="open", opened_at=dt.datetime.now(dt.UTC), open_until=NOON + 365_000 * HOUR)
    for _ in range(3):
        a_mail()
    Mail.objects.update(status="held", reason_code="outcome-unknown", next_attempt_at=None, provider="olympus")

    page = page_of(operator, olympus)

    assert "Show the 2+ emails held, outcome unknown" in page
    assert ">2+ emails held</a>" in page


@pytest.mark.django_db(transaction=True)
def test_who_may_not_see_mails_sees_no_subject_and_no_link_to_one(olympus):
    a_mail(subject="Invoice")
    dispatch()
    watcher = User.objects.create_user("iris", is_staff=True)
    watcher.user_permissions.add(Permission.objects.get(codename="view_account"))

    page = page_of(browser_of(watcher), olympus)

    assert "Last request" in page
    assert "Invoice" not in page
    assert "/admin/mails/mail/" not in page.replace("mails/mail/?account=olympus", "")


def test_the_page_asks_the_same_number_of_questions_however_many_calls_there_are(
    operator, olympus, django_assert_num_queries, django_assert_max_num_queries
):
    mail = a_mail()
    with django_assert_max_num_queries(40) as few:
        page_of(operator, olympus)
    for number in range(70):
        called("olympus", mail, at=dt.datetime.now(dt.UTC) - number * MINUTE)
        count("accepted", seconds=0.1, at=dt.datetime.now(dt.UTC) - number * MINUTE)

    with django_assert_num_queries(len(few)):
        page = page_of(operator, olympus)

    assert "The last 60 requests: 60 accepted." in page
