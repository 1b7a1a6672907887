"""The admin in a real browser: breakers, bulk actions, keys, and narrow screens."""

import threading

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from mails import pauses
from mails.actions import bulk
from mails.lifecycle.counters import CounterKey, Counters
from mails.models import Mail, Rollup
from mails.states import Counted
from mails.tests.builders import a_mail
from mails.tests.people import hermes
from mails.tests.web.browser import SECONDS, browser_only, dispatch_in_thread

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_breaker_is_forced_open_and_closed_and_the_overview_follows(visitor, olympus, hades):
    operator = hermes()
    page = visitor.sign_in(operator, "/admin/")
    watching = visitor.context.new_page()
    watching.goto("/admin/")
    row = watching.get_by_role("row").filter(has=watching.get_by_role("link", name="olympus", exact=True))
    expect(row).to_contain_text("Closed")

    page.get_by_role("link", name="Force open olympus").click()
    expect(page.locator("h1")).to_have_text("Force the breaker of olympus open?")
    expect(page.get_by_text("Email goes to hades instead.")).to_be_visible()
    page.get_by_role("button", name="Force open").click()
    expect(page.get_by_text("The breaker of olympus is forced open.", exact=True)).to_be_visible()
    expect(watching.get_by_text("The breaker of olympus is forced open by hermes: it gets no email.")).to_be_visible(
        timeout=20 * SECONDS
    )
    expect(row).to_contain_text("Open")
    assert olympus.breaker.mode == "open"

    page.goto("/admin/")
    page.get_by_role("link", name="Force closed olympus").click()
    page.get_by_role("button", name="Force closed").click()
    expect(page.get_by_text("The breaker of olympus is forced closed.", exact=True)).to_be_visible()
    expect(watching.get_by_text("it gets no email")).to_have_count(0, timeout=20 * SECONDS)
    expect(row).to_contain_text("Closed")
    assert olympus.breaker.mode == "closed"


def test_mails_are_reprocessed_in_bulk(visitor):
    for number in range(3):
        a_mail(subject=f"Invoice {number}")
    given_up = {"status": "discarded", "reason_code": "http-503", "failure_class": "provider", "next_attempt_at": None}
    Mail.objects.update(**given_up)
    page = visitor.sign_in(hermes(), "/admin/mails/mail/?state=discarded")

    page.get_by_role("checkbox", name="Select Invoice 1").check()
    expect(page.get_by_text("1 of 3 selected")).to_be_visible()
    page.get_by_role("button", name="Apply to selected").click()
    expect(page.locator("h1")).to_have_text("Reprocess 1 email?")
    page.get_by_role("link", name="Go back").click()
    page.get_by_role("checkbox", name="Select this page").check()
    expect(page.get_by_text("3 of 3 selected")).to_be_visible()
    page.get_by_role("button", name="Apply to all 3").click()
    expect(page.get_by_role("row", name="Discarded: http-503 3")).to_contain_text("1 of 1 accounts available")
    page.get_by_role("radio", name="Try all accounts again").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Only accounts not tried yet")).to_be_checked()
    page.get_by_role("button", name="Reprocess 3 emails").click()
    expect(page.get_by_text("Nothing was changed yet: you selected other accounts.")).to_be_visible()
    expect(page.get_by_role("row", name="Discarded: http-503 3")).to_contain_text("1 of 1 untried accounts")
    page.fill("#id_note", "olympus is back")
    page.get_by_role("button", name="Reprocess 3 emails").click()

    expect(page.get_by_text("3 queued, 0 skipped.")).to_be_visible()
    expect(page.get_by_text("“olympus is back”")).to_be_visible()
    expect(page.get_by_text("They start over, only through accounts not tried yet.")).to_be_visible()
    assert set(Mail.objects.values_list("status", flat=True)) == {"queued"}


def test_a_bulk_action_in_the_background_is_watched_live(visitor, monkeypatch):
    monkeypatch.setattr("mails.admin.bulk.AT_ONCE", 1)
    a_mail()
    a_mail()
    page = visitor.sign_in(hermes(), "/admin/mails/mail/bulk/?action=hold&scope=all")

    page.get_by_role("button", name="Hold 2 emails").click()
    expect(page.get_by_text("0 of 2 emails processed")).to_be_visible()
    expect(page.locator("#live-words")).to_contain_text("Live")
    working = threading.Thread(target=bulk.run)
    working.start()
    working.join()

    expect(page.get_by_text("2 held, 0 skipped.")).to_be_visible(timeout=20 * SECONDS)
    expect(page.locator("#poller")).to_have_count(0)


@pytest.mark.one_leg
def test_lists_go_by_keys_that_can_be_switched_off(visitor):
    a_mail(subject="First")
    a_mail(subject="Second")
    page = visitor.sign_in(hermes(), "/admin/mails/mail/")

    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="First")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#searchbar")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("#searchbar")).to_have_value("j")
    page.reload()
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Second")
    page.keyboard.press("j")
    expect(page.locator("h1")).to_have_text("First")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.locator("#keys-on").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("k")

    expect(page.locator("h1")).to_have_text("First")


OFF_SCREEN = """() => [...document.querySelectorAll("a.button, button")]
    .filter((element) => element.checkVisibility() && element.getBoundingClientRect().right > innerWidth + 1)
    .map((element) => element.textContent.trim())"""


CUT_OFF = """() => [...document.querySelectorAll(".scroller")]
    .filter((element) => element.querySelector("table") && element.scrollWidth > element.clientWidth + 1)
    .map((element) => element.getAttribute("aria-label"))"""


@browser_only
@pytest.mark.one_leg
@pytest.mark.parametrize("url", ["/admin/", "/admin/mails/mail/", "/admin/providers/account/"])
def test_nothing_is_cut_off_at_1380_pixels_and_no_button_lies_off_a_phones_screen(visitor, olympus, hades, url):
    a_mail()
    olympus.refuse(503)
    dispatch_in_thread()
    page = visitor.sign_in(hermes(), url)

    page.set_viewport_size({"width": 1380, "height": 900})
    assert page.evaluate(CUT_OFF) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(OFF_SCREEN) == []


@browser_only
@pytest.mark.one_leg
def test_a_phone_keeps_the_axis_of_a_chart_in_view(visitor, olympus):
    a_mail()
    dispatch_in_thread()
    page = visitor.sign_in(hermes(), "/admin/")
    page.set_viewport_size({"width": 390, "height": 844})

    axis = page.locator(".charted").first.locator(".y-axis")

    expect(axis).to_have_count(1)
    assert axis.locator("text").all_text_contents() == ["0", "1"]
    assert axis.evaluate("axis => axis.getBoundingClientRect().left >= 0")


CUT_LABELS = """() => [...document.querySelectorAll(".y-axis text")]
    .filter((text) => text.getBBox().x < 0)
    .map((text) => text.textContent)"""


@browser_only
@pytest.mark.one_leg
@pytest.mark.parametrize("width", [1380, 390])
@pytest.mark.parametrize(("seconds", "label"), [(7900, "150 min"), (0.45, "500 ms")])
def test_no_label_of_an_axis_is_cut_off(visitor, width, seconds, label):
    counters = Counters()
    for kind in (Counted.FIRST_SEND, Counted.CALL, Counted.END):
        counters.count(
            CounterKey(kind, "text", "olympus", outcome="done" if kind == Counted.END else "accepted"), seconds
        )
    Rollup.objects.bulk_create([Rollup(**row) for row in counters.build_rows(timezone.now())])
    page = visitor.sign_in(hermes(), "/admin/")
    page.set_viewport_size({"width": width, "height": 900})

    expect(page.locator(".y-axis text").filter(has_text=label).first).to_be_visible()
    assert page.evaluate(CUT_LABELS) == []


@browser_only
@pytest.mark.one_leg
@pytest.mark.parametrize("url", ["/", "/mails/", "/admin/mails/mail/", "/admin/providers/account/", "/admin/sandbox/"])
def test_every_page_says_that_sending_is_paused(visitor, url):
    pauses.pause(by="user:hermes")

    page = visitor.sign_in(hermes(), url)

    expect(page.locator(".paused")).to_contain_text("Sending is paused")
    expect(page.get_by_role("link", name="Resume sending…")).to_be_visible()
