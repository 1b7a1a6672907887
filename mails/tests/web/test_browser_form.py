"""The form and a user's own pages in a real browser: errors, tabs, code and time zones."""

import re

import pytest
from playwright.sync_api import expect

from mails.tests.builders import a_mail
from mails.tests.people import hermes, zeus
from mails.tests.web.browser import Visitor, browser_only, fill_and_send

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@browser_only
def test_errors_lead_to_their_fields_and_keep_what_was_typed(visitor):
    page = visitor.sign_in(zeus())

    fill_and_send(page, recipient="hera@olimpus", content="Precious words")

    expect(page).to_have_title("Error: Send an email · Mercury")
    summary = page.get_by_role("alert")
    expect(summary).to_be_focused()
    summary.get_by_role("link").click()
    expect(page.locator("#id_recipient")).to_be_focused()
    expect(page.locator("#id_content")).to_have_value("Precious words")
    visitor.complaints.clear()  # the browser itself reports the status 400


@browser_only
def test_the_form_is_shown_as_code(visitor):
    page = visitor.sign_in(zeus())

    page.fill("#id_subject", 'Zeus\' "bolt"')

    expect(page.locator("#code-curl-text")).to_contain_text("Zeus'\\'' \\\"bolt\\\"")


@browser_only
def test_tabs_go_by_arrow_keys(visitor):
    page = visitor.sign_in(zeus())

    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")

    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.locator("#code-python")).to_be_visible()
    expect(page.locator("#code-curl")).to_be_hidden()


@browser_only
def test_times_switch_to_the_viewers_zone(chromium, live_server, olympus):
    mail = a_mail()
    visitor = Visitor(chromium, live_server.url, timezone_id="Asia/Tokyo")
    page = visitor.sign_in(hermes(), f"/mails/{mail.pk}")

    accepted = page.locator("#facts time[data-moment]")
    expect(accepted).to_contain_text("UTC")
    page.get_by_role("button", name="Local").first.click()

    expect(accepted).to_contain_text("GMT+9")
    expect(accepted).to_have_attribute("title", re.compile(r"\.\d{3} GMT\+9$"))
    expect(page.locator("#timeline time.offset").first).to_have_attribute("title", re.compile(r"GMT\+9$"))
    assert visitor.complaints == []
    visitor.context.close()
