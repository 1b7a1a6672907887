"""The overview in the admin: what is wrong first, then figures; and who may see the admin."""

import datetime as dt
import re

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from mails.models import Mail, Worker
from mails.tests.builders import a_mail, dispatch
from mails.tests.people import browser_of, zeus
from providers.health import breaker_store
from providers.models import Breaker, BreakerMode

pytestmark = pytest.mark.django_db
MAILS = "/admin/mails/mail/"
KEYS = "/admin/mails/apikey/"


@pytest.mark.parametrize("url", ["/admin/", MAILS, KEYS, "/admin/queues/", "/admin/more/", "/admin/sandbox/"])
def test_the_admin_is_for_operators(client, operator, url):
    assert client.get(url).status_code == 302
    assert browser_of(zeus()).get(url).status_code == 302
    assert operator.get(url).status_code == 200


def test_figures_need_the_permission_to_view_them():
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


def test_a_user_without_access_to_the_admin_reads_why():
    page = browser_of(zeus()).get("/admin/", follow=True).text

    assert "You are signed in as <strong>zeus</strong>, which does not have access to this page" in page


def test_an_installation_without_email_shows_the_first_steps(operator):
    assert "No emails yet" in operator.get(MAILS).text
    assert "No email sent yet. Three steps" in operator.get("/admin/").text


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


def test_queues_without_redis_say_who_dispatches(operator, settings):
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


def test_the_overview_of_an_idle_installation_has_zeros_and_no_blanks(operator, olympus):
    page = operator.get("/admin/?period=7d").text

    assert page.count("No data for the last 7 days.") == 3
    assert "No request failed." in page
    assert "No email is on hold, discarded or expired." in page


def test_the_overview_counts_the_emails_that_wait_to_retry(operator, olympus):
    Mail.objects.filter(pk=a_mail().pk).update(status="waiting", next_attempt_at=timezone.now() + dt.timedelta(hours=1))

    page = operator.get("/admin/").text

    assert re.search(r'data-label="Waiting to retry">1<span class="below">next ', page)


@pytest.mark.django_db(transaction=True)
def test_the_overviews_poller_gets_204_when_nothing_changed(operator, olympus):
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
def test_an_open_breaker_can_be_probed_now(operator, olympus):
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
