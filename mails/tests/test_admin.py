"""The operators' pages of mails, keys and people, and the overview."""

import datetime as dt
import re
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from mails.access import api_keys
from mails.intake.accept import Client
from mails.models import ApiKey, Event, Mail, Worker
from mails.reporting import search
from mails.states import Source
from mails.tests.builders import IRIS, a_mail, dispatch
from mails.tests.people import browser_of, hermes, zeus
from providers.health import breaker_store
from providers.models import Breaker, BreakerMode

pytestmark = pytest.mark.django_db
MAILS = "/admin/mails/mail/"
KEYS = "/admin/mails/apikey/"


@pytest.fixture
def operator():
    return browser_of(hermes())


def key_in(page: str) -> str:
    found = re.search(r"mk_[a-z0-9]{8}_[\w-]{43}", page)
    assert found is not None
    return found[0]


@pytest.mark.parametrize("url", ["/admin/", MAILS, KEYS, "/admin/queues/", "/admin/more/", "/admin/sandbox/"])
def test_the_admin_is_for_operators(client, operator, url):
    assert client.get(url).status_code == 302
    assert browser_of(zeus()).get(url).status_code == 302
    assert operator.get(url).status_code == 200


def test_figures_are_for_those_who_may_see_them():
    argus = User.objects.create_user("argus", is_staff=True)
    browser = browser_of(argus)

    assert browser.get("/admin/").url == "/admin/more/"
    assert [browser.get(f"/admin/{page}/").status_code for page in ("figures", "queues", "more")] == [403, 403, 200]
    assert "Queues" not in browser.get("/admin/more/").text

    argus.user_permissions.add(Permission.objects.get(codename="view_rollup"))
    browser = browser_of(User.objects.get(pk=argus.pk))

    assert [browser.get(f"/admin/{page}").status_code for page in ("", "figures/", "queues/")] == [200, 200, 200]


def test_there_is_one_log_in_page(client):
    assert client.get(MAILS, follow=True).redirect_chain[-1][0] == f"/login/?next={MAILS}"


def test_who_may_not_see_the_admin_is_told_so():
    page = browser_of(zeus()).get("/admin/", follow=True).text

    assert "You are signed in as <strong>zeus</strong>, which does not have access to this page" in page


def test_the_list_filters_by_state_account_queue_application_and_age(operator):
    key, _text = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])
    a_mail(Client(Source.API, api_key=key), subject="By key")
    a_mail(subject="By command", recipient=IRIS)

    assert "By key" not in operator.get(MAILS, {"state": "done"}).text
    assert "By command" not in operator.get(MAILS, {"app": key.pk}).text
    assert "By key" not in operator.get(MAILS, {"app": "command"}).text
    assert "By key" in operator.get(MAILS, {"account": "-", "queue": "text", "age": "1h", "state": "queued"}).text
    assert "By key" not in operator.get(MAILS, {"q": "to:iris"}).text


@pytest.mark.parametrize("value", ["zeus", "9" * 40, "\0", "\ud800", "id:zeus", "٣", "²", "' OR 1=1"])
@pytest.mark.parametrize("name", ["state", "account", "queue", "app", "age", "before", "after", "q"])
def test_no_filter_breaks_the_list(operator, name, value):
    a_mail()
    query = urlencode({name: value}, errors="surrogatepass")

    assert operator.get(f"{MAILS}?{query}").status_code == 200
    assert operator.get(f"/mails/?{query}").status_code == 200


def test_an_empty_list_lists_the_filters_to_take_away(operator):
    a_mail()

    page = operator.get(MAILS, {"queue": "bulk", "state": "done"}).text

    assert "No email matches" in page
    assert "queue: Bulk" in page


def test_a_house_without_mail_shows_the_first_steps(operator):
    assert "No emails yet" in operator.get(MAILS).text
    assert "No email sent yet. Three steps" in operator.get("/admin/").text


def test_the_list_asks_the_same_number_of_questions_however_many_mails_there_are(
    operator, django_assert_max_num_queries
):
    for _ in range(60):
        a_mail()

    with django_assert_max_num_queries(25):
        page = operator.get(MAILS).text

    assert page.count("data-row") == 50
    assert "Older" in page


def test_a_filter_over_a_big_table_is_not_counted(operator, monkeypatch):
    monkeypatch.setattr("mails.admin.mails.COUNTED_AT_MOST", 1)
    for _ in range(3):
        a_mail()

    everything, filtered = operator.get(MAILS).text, operator.get(MAILS, {"queue": "text"}).text

    assert re.search(r'<span class="figure">(1\+|≈ [\d,]+)</span>', everything)
    assert '<span class="figure">3</span>' not in filtered


def test_the_page_of_a_mail_has_reasons_open_attempts_headers_and_events(operator):
    mail = a_mail()

    page = operator.get(f"{MAILS}{mail.pk}/change/").text

    assert f"&lt;{mail.pk}@olimpus.com&gt;" in page
    assert "X-Mercury-ID" in page
    assert "Raw event" in page
    assert "No request was made yet." in page


@pytest.mark.django_db(transaction=True)
def test_the_reasons_of_each_choice_are_open(olympus, hades):
    hades.disable()
    mail = a_mail()
    dispatch("text")

    page = browser_of(hermes()).get(f"{MAILS}{mail.pk}/change/").text

    assert '<details class="why" open>' in page
    assert "skipped: " in page


def test_a_mail_leads_to_its_neighbours_in_the_list_it_was_found_in(operator):
    mails = [
        a_mail(subject=f"Mail {number}", recipient=IRIS if number % 2 else "hera@olimpus.com") for number in range(5)
    ]
    listed = operator.get(MAILS, {"q": "to:hera", "before": str(mails[4].pk)}).text

    of_hera = operator.get(f"{MAILS}{mails[2].pk}/change/", {"list": "q=to:hera"}).text
    of_all = operator.get(f"{MAILS}{mails[2].pk}/change/").text
    last = operator.get(f"{MAILS}{mails[0].pk}/change/", {"list": "q=to:hera&state=queued"}).text

    assert f'href="{MAILS}{mails[2].pk}/change/?list=q%3Dto%253Ahera"' in listed
    for page, newer, older in ((of_hera, 4, 0), (of_all, 3, 1)):
        assert f'rel="prev" href="{MAILS}{mails[newer].pk}/change/' in page
        assert f'rel="next" href="{MAILS}{mails[older].pk}/change/' in page
    assert f'href="{MAILS}?q=to:hera"' in of_hera
    assert 'rel="next"' not in last


@pytest.mark.parametrize("tail", ["add/", "{pk}/delete/"])
def test_mails_are_neither_added_nor_deleted_here(operator, tail):
    mail = a_mail()

    assert operator.get(MAILS + tail.format(pk=mail.pk)).status_code == 403


def test_a_mail_cannot_be_changed_here(operator):
    mail = a_mail()

    operator.post(f"{MAILS}{mail.pk}/change/", {"subject": "Forged"})

    assert Mail.objects.get().subject == mail.subject


def test_an_unknown_mail_is_not_found(operator):
    assert operator.get(f"{MAILS}zeus/change/").status_code == 404


def test_an_event_can_be_read_and_not_changed(operator):
    event = Event.objects.filter(mail=a_mail()).earliest("id")
    url = reverse("admin:mails_event_change", args=[event.pk])

    assert "NEW" in operator.get(url).text
    assert operator.post(url, {"event": "DONE"}).status_code == 403


def test_there_is_no_list_of_all_events(operator):
    assert operator.get("/admin/mails/event/").headers["Location"] == MAILS


@pytest.mark.parametrize("pk", ["zeus", "²", "9" * 40, "0"])
def test_a_key_that_is_not_there_is_not_shown(operator, pk):
    assert operator.get(f"{KEYS}{pk}/change/").status_code == 302


def test_a_key_is_shown_once_with_a_curl_line(operator):
    form = {"name": "accounts", "scopes": ["mails:send"], "senders": "zeus@olimpus.com\n@olimpus.com"}

    made = operator.post(f"{KEYS}add/", form, follow=True)
    again = operator.get(f"{KEYS}{ApiKey.objects.get().pk}/change/")

    text = key_in(made.text)
    assert api_keys.find(text) == ApiKey.objects.get()
    assert f"Bearer {text}" in made.text
    assert "no-store" in made.headers["Cache-Control"]
    assert text not in again.text
    assert ApiKey.objects.get().senders == ["zeus@olimpus.com", "@olimpus.com"]


@pytest.mark.parametrize("senders", ["zeus", "zeus@", "@", "a@b@c.com"])
def test_a_sender_that_is_no_address_is_named(operator, senders):
    page = operator.post(f"{KEYS}add/", {"name": "x", "scopes": ["mails:send"], "senders": senders}).text

    assert "is not a valid email address" in page
    assert not ApiKey.objects.exists()


def test_a_key_is_narrowed(operator):
    key, _text = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])

    operator.post(f"{KEYS}{key.pk}/change/", {"name": "accounts", "scopes": ["mails:read"], "senders": ""})

    key.refresh_from_db()
    assert (key.scopes, key.senders) == (["mails:read"], [])


def test_a_key_gets_a_rate_and_loses_it(operator):
    form = {"name": "accounts", "scopes": ["mails:send"], "senders": "*"}

    operator.post(f"{KEYS}add/", form | {"rate": "10"})
    key = ApiKey.objects.get()
    page, listed = operator.get(f"{KEYS}{key.pk}/change/").text, operator.get(KEYS).text
    operator.post(f"{KEYS}{key.pk}/change/", form | {"rate": ""})

    assert key.rate == "10/s"
    assert 'value="10/s"' in page
    assert "Empty: no limit." in page
    assert "10/s" in listed
    key.refresh_from_db()
    assert key.rate == ""
    assert "no limit" in operator.get(KEYS).text


def test_what_is_no_rate_is_named_and_kept_as_typed(operator):
    page = operator.post(f"{KEYS}add/", {"name": "x", "scopes": ["mails:send"], "rate": "often"}).text

    assert "A rate is a number and a unit, such as 14/s, 600/m, 1000/h or 50000/d." in page
    assert 'value="often"' in page
    assert not ApiKey.objects.exists()


def test_revoking_asks_first(operator):
    key, text = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])
    url = f"{KEYS}{key.pk}/revoke/"

    asked = operator.get(url)
    usable = api_keys.find(text)
    operator.post(url)

    assert "Requests with this key will get 401" in asked.text
    assert usable == key
    assert api_keys.find(text) is None
    assert "Revoked" in operator.get(KEYS).text
    assert operator.get(url).status_code == 404


def test_rotating_shows_the_new_text_once_and_the_old_one_works_on(operator):
    key, old = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])

    page = operator.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "24"}, follow=True).text

    assert api_keys.find(key_in(page)) == key
    assert api_keys.find(old) == key
    assert operator.post(f"{KEYS}{key.pk}/rotate/", {"overlap": "-5"}).status_code == 404


def test_keys_are_never_deleted(operator):
    key, _text = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])

    assert operator.post(f"{KEYS}{key.pk}/delete/").status_code == 403


def test_a_person_is_allowed_to_send_as_an_address(operator):
    user = zeus()

    page = operator.get(f"/admin/auth/user/{user.pk}/change/").text

    assert "zeus@olimpus.com" in page
    assert "Sender permissions" in page


def test_the_overview_says_first_whether_something_is_wrong(operator, olympus, hades):
    now = timezone.now()
    Worker.objects.create(id="one", started_at=now, seen_at=now)
    fine = operator.get("/admin/").text
    breaker_store.force("olympus", BreakerMode.OPEN, by="hermes")
    one = operator.get("/admin/").text
    breaker_store.force("hades", BreakerMode.OPEN, by="hermes")
    both = operator.get("/admin/").text

    assert "All systems normal." in fine
    assert "The breaker of olympus is forced open" in one
    assert "Its email goes to hades; nothing is lost." in one
    assert "No other account is available: email waits." in both


def test_the_overview_leads_to_the_test_of_an_account_and_of_all(operator, olympus):
    page = operator.get("/admin/").text

    assert f'href="/admin/providers/account/{olympus.account.pk}/test/"' in page
    assert 'href="/admin/providers/account/test/"' in page
    assert operator.get("/admin/providers/account/test/").status_code == 200


def test_the_overview_shows_the_failure_mode_of_a_sandbox(operator, olympus, hades):
    olympus.refuse(503)

    page = operator.get("/admin/").text

    assert "olympus simulates a failure until" in page
    assert "manage.py sandbox clear olympus" in page
    assert "The sandbox hades" not in page


def test_the_overview_reads_the_accounts_once(operator, olympus):
    with CaptureQueriesContext(connection) as asked:
        operator.get("/admin/")

    assert sum("providers_failuremode" in query["sql"] for query in asked) == 1


def test_a_search_that_stopped_says_so_and_leads_on(operator, monkeypatch):
    monkeypatch.setattr(search, "REACH", 1)
    a_mail(subject="Invoice")
    a_mail(subject="Welcome")

    page = operator.get(MAILS + "?q=subject:voice").text
    further = re.search(r'href="([^"]+)">Search older', page)[1].replace("&amp;", "&")

    assert "No email matches so far" in page
    assert "The search covered 1 emails, back to" in page
    assert "Invoice" in operator.get(MAILS + further).text


def test_queues_without_redis_say_who_drains(operator, settings):
    settings.MERCURY_EMBEDDED = True

    assert "Email is dispatched in the web process." in operator.get("/admin/queues/").text


def test_an_unknown_outcome_is_said_on_the_overview(operator, olympus):
    a_mail()
    Mail.objects.update(status="held", reason_code="outcome-unknown", next_attempt_at=None)

    assert "1 email is on hold and may have been sent: the outcome is unknown." in operator.get("/admin/").text


@pytest.mark.django_db(transaction=True)
def test_the_overview_has_figures_charts_and_the_table_behind_each(operator, olympus, hades):
    olympus.refuse(503)
    for number in range(8):
        a_mail(subject=f"mail {number}")
    dispatch()

    page = operator.get("/admin/").text

    assert "sent after a failover" in page
    assert page.count("As a table") == 3
    assert "Provider error" in page
    assert re.search(r'<rect class="tone-waiting" x="[\d.]+"', page)
    week = operator.get("/admin/?period=7d").text
    days = re.findall(r'<text class="x"[^>]*>([^<]+)</text>', week)
    named = list(dict.fromkeys(days))
    assert days == 3 * named
    assert len(named) in {7, 8}  # 8 in the first hour of a day: the week begins with a whole hour
    assert all(re.fullmatch(r"\d+ [A-Z][a-z]{2}", day) for day in days)


def test_the_overview_of_a_house_in_which_nothing_happened_has_zeros_and_no_blanks(operator, olympus):
    page = operator.get("/admin/?period=7d").text

    assert page.count("No data for the last 7 days.") == 3
    assert "No request failed." in page
    assert "No email is on hold, discarded or expired." in page


@pytest.mark.django_db(transaction=True)
def test_the_overviews_poller_is_told_when_nothing_changed(operator, olympus):
    page = operator.get("/admin/").text
    poll = re.search(r'hx-get="([^"]+)"', page)[1].replace("&amp;", "&")

    assert operator.get(poll).status_code == 204
    breaker_store.force("olympus", BreakerMode.CLOSED, by="hermes")
    assert "Automatic<span" in operator.get(poll).text
    a_mail()
    dispatch()
    changed = operator.get(poll)

    assert changed.status_code == 200
    assert 'id="figures"' in changed.text


@pytest.mark.django_db(transaction=True)
def test_an_open_breaker_can_be_told_to_probe_now(operator, olympus):
    later = timezone.now() + dt.timedelta(seconds=30)
    Breaker.objects.update(state="open", open_until=later, epoch=1, trips=1)
    probe = reverse("admin:providers_account_action", args=[olympus.account.pk, "probe"])
    assert probe in operator.get("/admin/").text

    operator.post(probe)
    a_mail()
    dispatch()

    assert olympus.breaker.state == "closed"


def test_the_navigation_counts_open_breakers(operator, olympus):
    breaker_store.force("olympus", BreakerMode.OPEN, by="hermes")

    assert re.search(r'<span class="count">1<', operator.get("/admin/").text)
