"""A hostile email in a real browser reaches no host and changes no page."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import expect

from mails.tests.people import hermes
from mails.tests.web.browser import browser_only, store_hostile_email
from mercury.lib.mail import html_cleaning
from mercury.lib.mail.html_cleaning import CleanHtml

pytestmark = [pytest.mark.browser, pytest.mark.one_leg, pytest.mark.django_db(transaction=True)]


class Evil(BaseHTTPRequestHandler):
    """A host that a hostile email tries to reach; it records every request."""

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


@browser_only
@pytest.mark.parametrize("fences", ["all", "without the cleaner"])
def test_a_hostile_mail_does_nothing(visitor, evil, fences, monkeypatch):
    if fences == "without the cleaner":
        monkeypatch.setattr(html_cleaning, "clean", lambda html, **_options: CleanHtml(html, 0))
    page = visitor.sign_in(hermes(), store_hostile_email(evil))
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


@browser_only
def test_remote_images_load_when_somebody_asks_for_them(visitor, evil):
    page = visitor.sign_in(hermes(), store_hostile_email(evil))

    with page.expect_request(f"{evil}/pixel.png"):
        page.get_by_role("link", name="Load them").click()

    page.wait_for_load_state("networkidle")
    expect(page.get_by_text("Remote images are on")).to_be_visible()
    asked = {"/pixel.png", "/style.png"}
    assert set(Evil.asked) == asked
    assert {line for line in visitor.complaints if "request" in line} == {f"request to {evil}{path}" for path in asked}
    visitor.complaints.clear()  # it left because it was asked for
