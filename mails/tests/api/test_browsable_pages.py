"""The API's pages in a real browser, under the strict policy: no complaint of the console, no other host asked."""

import json

import pytest
from playwright.sync_api import expect

from mails.access import api_keys
from mails.models import Mail
from mails.tests.callers import HELLO, MAILS
from mails.tests.people import hermes

pytestmark = [pytest.mark.browser, pytest.mark.one_leg, pytest.mark.django_db(transaction=True)]


def test_the_documentation_sends_its_example_with_a_key(visitor):
    _, text = api_keys.create("zeus", scopes=api_keys.SCOPES, senders=["*"])
    page = visitor.page
    page.goto("/api/docs/")
    page.click(".auth-wrapper .authorize")
    page.locator(".modal-ux input").first.fill(text)
    page.locator(".modal-ux .btn.authorize").first.click()
    page.locator(".modal-ux .btn-done").first.click()
    create = page.locator("#operations-Mails-create_mail")
    create.locator(".opblock-summary-control").click()
    create.locator(".try-out__btn").click()

    create.locator(".execute").click()

    expect(create.locator(".live-responses-table .response-col_status").last).to_contain_text("202")
    assert Mail.objects.get().sender == "mercury@olimpus.com"  # as the description's example has it


def test_the_browsable_api_takes_json_from_a_signed_in_person(visitor):
    page = visitor.sign_in(hermes(), MAILS)

    page.fill("textarea[data-override=content]", json.dumps(HELLO))
    page.locator("form:has(textarea[data-override=content]) button:has-text('POST')").click()

    expect(page.locator(".response-info")).to_contain_text("202 Accepted")
    assert Mail.objects.get().subject == HELLO["subject"]


ON_TOP = """link => {
    const box = link.getBoundingClientRect();
    return document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2) === link;
}"""


def test_the_browsable_api_lets_a_keyboard_skip_to_its_content(visitor):
    page = visitor.sign_in(hermes(), MAILS)
    skip = page.get_by_role("link", name="Skip to main content")

    page.keyboard.press("Tab")
    expect(skip).to_be_focused()
    assert skip.evaluate(ON_TOP)
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert page.evaluate("document.querySelector('#content').contains(document.activeElement)")
