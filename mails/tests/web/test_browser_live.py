"""The live page of an email in a real browser: every event within two seconds, and the same without JavaScript."""

import random
import re
import threading

import pytest
from playwright.sync_api import expect

from mails.models import Mail
from mails.tests.builders import a_mail, dispatch
from mails.tests.people import PASSWORD, hermes, zeus
from mails.tests.web.browser import SECONDS, Visitor, browser_only, dispatch_in_thread, fill_and_send

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


def test_a_mail_is_written_sent_and_watched_live(visitor):
    zeus()
    page = visitor.page
    page.goto("/")
    page.fill("#id_username", "zeus")
    page.fill("#id_password", PASSWORD)
    page.click("main button[type=submit]")

    fill_and_send(page)
    expect(page.get_by_text("Accepted.", exact=True)).to_be_visible()
    expect(page.locator("#state")).to_have_text("Queued")
    expect(page.locator("#live-words")).to_contain_text("Live")
    page.locator("#timeline details").first.locator("summary").click()
    dispatch_in_thread()

    expect(page.locator("#state")).to_have_text("Sent", timeout=20 * SECONDS)
    expect(page.locator("#live-words")).to_contain_text("Final")
    expect(page.locator("#timeline > li").last).to_contain_text("Accepted by olympus")
    expect(page.locator("#poller")).to_have_count(0)
    expect(page.locator("#under-way")).to_have_count(0)
    expect(page.locator("#timeline details").first).to_have_attribute("open", "")
    names = page.locator("#timeline > li .tag").all_inner_texts()
    assert names == list(Mail.objects.get().events.values_list("event", flat=True))


def test_a_failover_is_watched_live(visitor, olympus, hades, monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.0)  # the first of the accounts by name
    hades.refuse(503)
    olympus.slow(5)
    mail = a_mail()
    page = visitor.sign_in(hermes(), f"/admin/mails/mail/{mail.pk}/change/")
    steps = page.locator("#timeline > li")
    expect(steps.last).to_contain_text("Waiting for a worker")

    dispatching = threading.Thread(target=dispatch, args=("text",))
    dispatching.start()
    expect(steps.last).to_contain_text("Waiting for olympus to reply", timeout=20 * SECONDS)
    expect(page.locator("#state")).to_have_text("Sending")
    expect(page.get_by_text("Refused by hades")).to_be_visible()
    expect(page.locator("details.why").last).to_have_attribute("open", "")
    expect(page.locator("#attempts tbody tr")).to_have_count(2)
    page.locator("#decisions").uncheck()
    expect(page.locator("details.why[open]")).to_have_count(0)
    dispatching.join()

    expect(page.locator("#state")).to_have_text("Sent", timeout=20 * SECONDS)
    expect(page.locator("#summary")).to_contain_text("Accepted by olympus")
    expect(page.locator("#recipients")).to_contain_text("Accepted")
    expect(page.locator("#where-the-time-went")).to_contain_text("hades: 503")
    expect(page.locator("#poller")).to_have_count(0)


NOTE_ARRIVALS = """
    window.arrived = {};
    new MutationObserver(() => document.querySelectorAll("li[id^=event-]").forEach(
        (step) => { window.arrived[step.id.slice(6)] ??= Date.now(); }
    )).observe(document, { childList: true, subtree: true });
"""

POLLS = """performance.getEntriesByType("resource").filter((entry) => entry.name.includes("/timeline?"))
    .map((entry) => performance.timeOrigin + entry.startTime)"""


def test_each_event_appears_with_the_next_poll(visitor, olympus, hades, monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.0)  # the first of the accounts by name
    hades.refuse(503)
    olympus.slow(3)
    mail = a_mail()
    visitor.page.add_init_script(NOTE_ARRIVALS)
    page = visitor.sign_in(hermes(), f"/admin/mails/mail/{mail.pk}/change/")
    expect(page.locator("#live-words")).to_contain_text("Live")
    seen_before = set(page.evaluate("arrived"))

    dispatch_in_thread()

    expect(page.locator("#state")).to_have_text("Sent", timeout=20 * SECONDS)
    arrived = page.evaluate("arrived")
    recorded = {str(event.pk): event.created_at / 1e6 for event in mail.events.all()}
    polls = page.evaluate(POLLS)
    new = recorded.keys() - seen_before
    missed = {number: sum(recorded[number] < began < arrived[number] for began in polls) - 1 for number in new}
    assert len(new) >= 7
    assert len(polls) >= 2
    assert max(missed.values()) <= 1  # an event is dated before its commit, so one poll may come in between


@browser_only
@pytest.mark.one_leg
def test_polling_pauses_and_says_so(visitor):
    page = visitor.sign_in(zeus())
    fill_and_send(page)
    words = page.locator("#live-words")
    hide = "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true}); "
    hide += "document.dispatchEvent(new Event('visibilitychange')) }"

    page.get_by_role("button", name="Pause").click()
    expect(words).to_have_text("Paused")
    page.keyboard.press("r")
    expect(words).to_contain_text("Live")
    page.evaluate(hide, True)
    expect(words).to_have_text("Paused")
    page.evaluate(hide, False)

    expect(words).to_contain_text("Live")


@browser_only
@pytest.mark.one_leg
def test_polling_slows_down_while_nothing_happens(visitor):
    mail = a_mail()
    page = visitor.page
    page.clock.install()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/timeline?" in request.url else None)
    visitor.sign_in(hermes(), f"/mails/{mail.pk}")
    said = [page.locator("#live-words").inner_text()]

    while said[-1] != "Live · every 30 s" and len(said) < 500:
        page.clock.run_for(2 * SECONDS)
        said.append(page.locator("#live-words").inner_text())

    assert said[0] == "Live · every 2 s"
    assert said[-1] == "Live · every 30 s"
    assert len(asked) >= 16  # ten at full speed, and each further wait half as long again


@browser_only
@pytest.mark.one_leg
def test_a_lost_connection_is_said_and_tried_again(visitor):
    page = visitor.sign_in(zeus())
    fill_and_send(page)

    with page.expect_event("requestfailed", lambda request: "/timeline?" in request.url, timeout=30 * SECONDS):
        page.route("**/timeline*", lambda route: route.abort())
    expect(page.locator("#live-words")).to_have_text("Connection lost, retrying")
    with page.expect_response("**/timeline?*", timeout=30 * SECONDS):
        page.unroute("**/timeline*")
    expect(page.locator("#live-words")).to_contain_text("Live")

    visitor.complaints.clear()  # the browser itself reports the aborted request


def test_everything_works_without_script(chromium, live_server, olympus):
    visitor = Visitor(chromium, live_server.url, java_script_enabled=False)
    page = visitor.sign_in(zeus())

    fill_and_send(page)
    expect(page.locator("#state")).to_have_text("Queued")
    dispatch_in_thread()
    page.get_by_role("link", name="Reload").click()

    expect(page.locator("#state")).to_have_text("Sent")
    assert visitor.complaints == []
    visitor.context.close()


@browser_only
@pytest.mark.one_leg
def test_the_title_the_icon_and_the_chart_of_a_live_page_follow_its_badge(visitor, olympus):
    olympus.disable()
    mail = a_mail()
    page = visitor.sign_in(hermes(), f"/admin/mails/mail/{mail.pk}/change/")
    lasting = page.locator(".spans [data-goes-on] .length")

    expect(page).to_have_title(re.compile("Queued · Mercury$"))
    expect(page.locator("#summary")).to_contain_text("olympus (disabled, until someone enables it)")
    before = lasting.inner_text()
    expect(lasting).not_to_have_text(before, timeout=20 * SECONDS)
    olympus.enable()
    dispatch_in_thread()

    expect(page.locator("#state")).to_have_text("Sent", timeout=20 * SECONDS)
    expect(page).to_have_title(re.compile("Sent · Mercury$"))
    expect(page.locator('link[rel="icon"]')).to_have_attribute("href", re.compile("favicon-ok"))
    expect(page.locator(".spans [data-goes-on]")).to_have_count(0)
