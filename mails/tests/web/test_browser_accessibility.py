"""Every page in a real browser: axe in light and dark, no console error, no request to another host, no sideways scroll."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from mails.access import api_keys
from mails.actions import bulk
from mails.lifecycle.action_requests import ActionRequest
from mails.models import EventSink, Mail
from mails.reporting import search
from mails.reporting.search import MailListFilter
from mails.states import Action
from mails.tests.builders import a_mail
from mails.tests.events.webhook_builders import a_delivery, a_webhook
from mails.tests.people import hermes
from mails.tests.web.browser import Visitor, browser_only, dispatch_in_thread, store_hostile_email
from providers.tests.support.builders import SandboxAccount

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


FILE = {"filename": "notes.txt", "content": "SGk="}


def list_urls(olympus: SandboxAccount, operator: User) -> list[str]:
    """Create something to show, and return the URL of every page."""
    key, _text = api_keys.create("accounts", scopes=["mails:send"], senders=["zeus@olimpus.com"])
    sent = a_mail(cc=["iris@olimpus.com"], html="<p>Hi", tags=["welcome"], metadata={"order": "17"}, attachments=[FILE])
    dispatch_in_thread("attachment")
    olympus.lose_answer()
    unknown = a_mail(delivery_guarantee="at-most-once")
    dispatch_in_thread()
    given_up = a_mail()
    Mail.objects.filter(pk=given_up.pk).update(status="discarded", next_attempt_at=None)
    queued = a_mail()
    action_request = bulk.create_bulk_action(
        ActionRequest(action=Action.HOLD, by="user:hermes", note="why"),
        MailListFilter(),
        at=queued.created_at,
        description="all emails",
    )
    kafka = EventSink.objects.create(name="kafka", position=0, created_at=queued.created_at)
    kafka.rejected.create(event_id=1, reason="too large", rejected_at=queued.created_at)
    delivery = a_delivery(a_webhook(key, failing_since=key.created_at), sent, status="failed", status_code=500)
    webhook = f"/admin/webhooks/{delivery.webhook_id}/"
    account = f"/admin/providers/account/{olympus.account.pk}"
    with_html = store_hostile_email("https://evil.example")
    return [
        "/",
        f"/?copy={sent.pk}",
        "/mails/",
        "/mails/?state=done&q=nobody",
        f"/mails/{sent.pk}",
        f"/mails/{sent.pk}#message-files",
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
        "/admin/webhooks/",
        webhook,
        f"{webhook}deliveries/{delivery.pk}/",
        "/admin/webhooks/add/",
        "/admin/sandbox/",
        "/admin/sandbox/?q=nothing",
        with_html,
        f"{with_html}#message-files",
        "/admin/queues/",
        "/admin/streams/",
        "/admin/streams/events/kafka/",
        "/admin/more/",
        "/admin/password_change/",
        "/admin/auth/group/add/",
        "/admin/auth/user/add/",
        "/admin/auth/user/",
        f"/admin/auth/user/{operator.pk}/change/",
    ]


@browser_only
def test_every_page_is_accessible_and_fits_a_phone(chromium, live_server, olympus, monkeypatch):
    monkeypatch.setattr(search, "REACH", 1)  # the search stops early, and the page says so
    operator = hermes()
    pages = list_urls(olympus, operator)
    visitor = Visitor(chromium, live_server.url)
    found = _list_problems(visitor, "/login/")
    visitor.sign_in(operator)

    for url in pages:
        found += _list_problems(visitor, url)

    assert found == []
    visitor.context.close()


@browser_only
def test_the_api_docs_can_be_read_in_both_themes(visitor):
    page = visitor.page

    page.goto("/api/docs/")
    page.locator(".opblock-summary-control").nth(1).click()
    expect(page.locator(".opblock.is-open .responses-wrapper").first).to_be_visible()
    assert _run_axe(page, runOnly=["html-has-lang", "valid-lang", "landmark-one-main"]) == []
    for scheme, dark in (("light", 0), ("dark", 1)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        expect(page.locator("html.dark-mode")).to_have_count(dark)
        for within in (".api-docs-head", ".information-container", ".scheme-container", ".opblock.is-open"):
            assert _run_axe(page, within=within, runOnly=["color-contrast"]) == []
    visitor.complaints.clear()  # axe tries to add styles of its own, which the policy refuses


def _list_problems(visitor: Visitor, url: str) -> list[str]:
    """Return console errors, axe violations in both themes, and sideways scrolling on narrow screens."""
    page = visitor.page
    page.set_viewport_size({"width": 1380, "height": 900})
    page.emulate_media(color_scheme="light", reduced_motion="reduce")  # no transition between two colours
    page.goto(url)
    complaints = [f"{url}: {line}" for line in visitor.complaints if "404" not in line]
    complaints += [f"{url}: {words}" for words in _run_axe(page)]
    page.emulate_media(color_scheme="dark")
    complaints += [
        f"{url}, dark: {words}" for words in _run_axe(page, runOnly=["color-contrast", "link-in-text-block"])
    ]
    visitor.complaints.clear()  # axe tries to add styles of its own, which the policy refuses
    for width in (320, 690):  # 690: 1380 at 200 %
        page.set_viewport_size({"width": width, "height": 800})
        needed = page.evaluate("document.documentElement.scrollWidth")
        if needed > width:
            complaints.append(f"{url}: needs {needed} of {width} px")
    return complaints


def _run_axe(page: Page, *, within: str = "html", **options) -> list[str]:
    """Return axe's violations. It is loaded once per page, fetches no stylesheet again and does not wait for frames."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = {"resultTypes": ["violations"], "preload": False, "iframes": False, **options}
    return page.evaluate(
        "([within, options]) => axe.run(within, options).then("
        "({ violations }) => violations.map(({ id, nodes }) => `${id} ${nodes[0].target}`))",
        [within, options],
    )
