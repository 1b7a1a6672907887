"""The pages in a real browser: live updates, no script, keyboard, axe in light and dark, no request to another host."""

import os
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from mails import keys
from mails.models import Mail
from mails.tests.builders import a_mail, drain
from mails.tests.people import PASSWORD, hermes, zeus
from providers.sandbox import mailbox
from providers.tests.builders import SandboxAccount

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SECONDS = 1000


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
        self.context = browser.new_context(base_url=base, **options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._watch(request.url, base))

    def sign_in(self, name: str) -> Page:
        self.page.goto("/login/")
        self.page.fill("#id_username", name)
        self.page.fill("#id_password", PASSWORD)
        self.page.click("main button[type=submit]")
        self.page.wait_for_url("**/")
        return self.page

    def _watch(self, url: str, base: str) -> None:
        if urlsplit(url).scheme != "data" and not url.startswith(base):
            self.complaints.append(f"request to {url}")


@pytest.fixture
def visitor(chromium, live_server, olympus) -> Iterator[Visitor]:
    visitor = Visitor(chromium, live_server.url)
    yield visitor
    visitor.context.close()
    assert visitor.complaints == []


def drained_beside() -> None:
    """Drain in a thread: this one has playwright's event loop."""
    thread = threading.Thread(target=drain, args=("text",))
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


def test_a_mail_is_written_sent_and_watched_live(visitor, olympus, hades):
    zeus()
    hades.refuse(503)
    page = visitor.sign_in("zeus")

    write(page)
    expect(page.get_by_text("Mail accepted.")).to_be_visible()
    expect(page.locator("#state")).to_have_text("Queued")
    expect(page.locator("#live-words")).to_contain_text("Live")
    page.locator("#timeline details").first.locator("summary").click()
    drained_beside()

    expect(page.locator("#state")).to_have_text("Sent", timeout=8 * SECONDS)
    expect(page.locator("#live-words")).to_contain_text("Final")
    expect(page.locator("#timeline > li").last).to_contain_text("Accepted by olympus")
    expect(page.locator("#poller")).to_have_count(0)
    expect(page.locator("#under-way")).to_have_count(0)
    expect(page.locator("#timeline details").first).to_have_attribute("open", "")
    names = page.locator("#timeline > li .tag").all_inner_texts()
    assert names == list(Mail.objects.get().events.values_list("event", flat=True))


def test_polling_pauses_and_says_so(visitor):
    zeus()
    page = visitor.sign_in("zeus")
    write(page)

    page.get_by_role("button", name="Pause").click()
    expect(page.locator("#live-words")).to_have_text("Paused")
    page.keyboard.press("r")

    expect(page.locator("#live-words")).to_contain_text("Live")


def test_a_lost_connection_is_said_and_tried_again(visitor):
    zeus()
    page = visitor.sign_in("zeus")
    write(page)

    page.route("**/timeline*", lambda route: route.abort())
    expect(page.locator("#live-words")).to_have_text("Connection lost, retrying", timeout=6 * SECONDS)
    page.unroute("**/timeline*")
    expect(page.locator("#live-words")).to_contain_text("Live", timeout=6 * SECONDS)

    visitor.complaints.clear()  # the browser itself reports the aborted request


def test_errors_lead_to_their_fields_and_keep_what_was_typed(visitor):
    zeus()
    page = visitor.sign_in("zeus")

    write(page, recipient="hera@olimpus", content="Precious words")

    expect(page).to_have_title("Error: Send a mail · Mercury")
    summary = page.get_by_role("alert")
    expect(summary).to_be_focused()
    summary.get_by_role("link").click()
    expect(page.locator("#id_recipient")).to_be_focused()
    expect(page.locator("#id_content")).to_have_value("Precious words")
    visitor.complaints.clear()  # the browser itself reports the status 400


def test_the_form_is_shown_as_code(visitor):
    zeus()
    page = visitor.sign_in("zeus")

    page.fill("#id_subject", 'Zeus\' "bolt"')

    expect(page.locator("#code-curl-text")).to_contain_text("Zeus'\\'' \\\"bolt\\\"")


def test_tabs_go_by_arrow_keys(visitor):
    zeus()
    page = visitor.sign_in("zeus")

    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")

    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.locator("#code-python")).to_be_visible()
    expect(page.locator("#code-curl")).to_be_hidden()


def test_lists_go_by_keys_that_can_be_switched_off(visitor):
    hermes()
    a_mail(subject="First")
    a_mail(subject="Second")
    page = visitor.sign_in("hermes")
    page.goto("/admin/mails/mail/")

    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(page.get_by_role("link", name="First")).to_be_focused()
    page.keyboard.press("/")
    expect(page.locator("#searchbar")).to_be_focused()
    page.keyboard.press("j")
    expect(page.locator("#searchbar")).to_have_value("j")
    page.get_by_role("button", name="Keyboard shortcuts").click()
    page.locator("#keys-on").uncheck()
    page.get_by_role("button", name="Close").click()
    page.keyboard.press("k")

    expect(page.get_by_role("link", name="First")).not_to_be_focused()


def test_times_switch_to_the_viewers_zone(chromium, live_server, olympus):
    hermes()
    mail = a_mail()
    visitor = Visitor(chromium, live_server.url, timezone_id="Asia/Tokyo")
    page = visitor.sign_in("hermes")
    page.goto(f"/mails/{mail.pk}")

    accepted = page.locator("#facts time[data-moment]")
    expect(accepted).to_contain_text("UTC")
    page.get_by_role("button", name="Local").click()

    expect(accepted).to_contain_text("GMT+9")
    assert visitor.complaints == []
    visitor.context.close()


def test_everything_works_without_script(chromium, live_server, olympus):
    zeus()
    visitor = Visitor(chromium, live_server.url, java_script_enabled=False)
    page = visitor.sign_in("zeus")

    write(page)
    expect(page.locator("#state")).to_have_text("Queued")
    drained_beside()
    page.get_by_role("link", name="Reload").click()

    expect(page.locator("#state")).to_have_text("Sent")
    assert visitor.complaints == []
    visitor.context.close()


def urls(olympus: SandboxAccount) -> list[str]:
    """Every page of ours, with what it needs to show."""
    operator = hermes()
    key, _text = keys.create("accounts", scopes=["mails:send"], senders=["zeus@olimpus.com"])
    sent = a_mail()
    drained_beside()
    queued = a_mail()
    account = f"/admin/providers/account/{olympus.account.pk}"
    box = mailbox.messages("olympus")[0]
    return [
        "/",
        "/mails/",
        "/mails/?state=done&q=nobody",
        f"/mails/{sent.pk}",
        f"/mails/{queued.pk}",
        "/mails/00000000-0000-7000-8000-000000000000",
        "/admin/",
        "/admin/mails/mail/",
        f"/admin/mails/mail/{sent.pk}/change/",
        "/admin/providers/account/",
        f"{account}/change/",
        f"{account}/edit/",
        f"{account}/test/",
        f"{account}/action/force-open/",
        "/admin/providers/account/add/",
        "/admin/providers/account/add/?kind=smtp",
        "/admin/mails/apikey/",
        "/admin/mails/apikey/add/",
        f"/admin/mails/apikey/{key.pk}/change/",
        f"/admin/mails/apikey/{key.pk}/rotate/",
        "/admin/sandbox/",
        f"/admin/sandbox/olympus/{box.key}/",
        "/admin/queues/",
        "/admin/more/",
        "/admin/password_change/",
        "/admin/auth/group/add/",
        "/admin/auth/user/add/",
        "/admin/auth/user/",
        f"/admin/auth/user/{operator.pk}/change/",
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_phone(chromium, live_server, olympus, scheme):
    pages = urls(olympus)
    visitor = Visitor(chromium, live_server.url, color_scheme=scheme)
    found = _faults(visitor, "/login/")
    visitor.sign_in("hermes")

    for url in pages:
        found += _faults(visitor, url)

    assert found == []
    visitor.context.close()


def _faults(visitor: Visitor, url: str) -> list[str]:
    page = visitor.page
    page.set_viewport_size({"width": 1380, "height": 900})
    page.goto(url)
    complaints = [f"{url}: {line}" for line in visitor.complaints if "404" not in line]
    complaints += [f"{url}: {one['id']} {one['nodes'][0]['target']}" for one in Axe().run(page).response["violations"]]
    visitor.complaints.clear()  # axe tries to add styles of its own, which the policy refuses
    for width in (320, 390, 690):  # 690: 1380 at 200 %
        page.set_viewport_size({"width": width, "height": 800})
        needed = page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            complaints.append(f"{url}: needs {needed} of {width} px")
    return complaints
