"""The list of emails and the page of one in the admin."""

import re
from urllib.parse import urlencode

import pytest
from django.urls import reverse

from mails.access import api_keys
from mails.intake.client import Client
from mails.models import Event, Mail
from mails.reporting import search
from mails.states import Source
from mails.tests.builders import IRIS, a_mail, dispatch
from mails.tests.people import browser_of, hermes

pytestmark = pytest.mark.django_db
MAILS = "/admin/mails/mail/"


def test_the_list_filters_by_state_account_queue_application_and_age(operator):
    key, _text = api_keys.create("accounts", scopes=["mails:send"], senders=["*"])
    a_mail(Client(source=Source.API, api_key=key), subject="By key")
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


def test_an_empty_list_offers_to_remove_each_filter(operator):
    a_mail()

    page = operator.get(MAILS, {"queue": "bulk", "state": "done"}).text

    assert "No email matches" in page
    assert "queue: Bulk" in page


def test_the_list_makes_the_same_number_of_queries_for_any_number_of_emails(operator, django_assert_max_num_queries):
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


def test_the_page_of_an_email_has_reasons_open_attempts_headers_and_events(operator):
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


def test_an_email_leads_to_its_neighbours_in_the_filtered_list(operator):
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


def test_a_search_that_stopped_says_so_and_leads_on(operator, monkeypatch):
    monkeypatch.setattr(search, "REACH", 1)
    a_mail(subject="Invoice")
    a_mail(subject="Welcome")

    page = operator.get(MAILS + "?q=subject:voice").text
    further = re.search(r'href="([^"]+)">Search older', page)[1].replace("&amp;", "&")

    assert "No email matches so far" in page
    assert "The search covered 1 emails, back to" in page
    assert "Invoice" in operator.get(MAILS + further).text
