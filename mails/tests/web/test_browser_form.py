"""The form and a user's own pages in a real browser: errors, tabs, code and time zones."""

import base64
import hashlib
import re

import pytest
from playwright.sync_api import expect

from mails.models import StoredFile
from mails.tests.builders import a_mail
from mails.tests.people import hermes, zeus
from mails.tests.web.browser import SECONDS, Visitor, browser_only, fill_and_send

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]


@browser_only
@pytest.mark.one_leg
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
@pytest.mark.one_leg
def test_the_form_is_shown_as_code(visitor):
    page = visitor.sign_in(zeus())

    page.fill("#id_subject", 'Zeus\' "bolt"')

    expect(page.locator("#code-curl-text")).to_contain_text("Zeus'\\'' \\\"bolt\\\"")


@browser_only
@pytest.mark.one_leg
def test_tabs_go_by_arrow_keys(visitor):
    page = visitor.sign_in(zeus())

    page.get_by_role("tab", name="curl").focus()
    page.keyboard.press("ArrowRight")

    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(page.locator("#code-python")).to_be_visible()
    expect(page.locator("#code-curl")).to_be_hidden()


@browser_only
@pytest.mark.one_leg
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


def add_files(page, **contents: bytes) -> None:
    """Choose files; a name's last underscore is its dot."""
    kinds = {"png": "image/png", "txt": "text/plain"}
    page.set_input_files(
        "#id_uploads",
        [
            {"name": name.replace("_", "."), "mimeType": kinds[name.rpartition("_")[2]], "buffer": content}
            for name, content in contents.items()
        ],
    )


def row_of(page, name: str):
    return page.locator("[data-attachment]", has_text=name)


@browser_only
def test_files_are_uploaded_shown_in_the_html_and_sent(visitor):
    page = visitor.sign_in(zeus())
    add_files(page, bolt_png=PNG, notes_txt=b"Hi", empty_txt=b"")

    expect(row_of(page, "bolt.png")).to_contain_text("Uploaded")
    expect(row_of(page, "notes.txt")).to_contain_text("Uploaded")
    expect(row_of(page, "empty.txt")).to_contain_text("The file is empty, or a folder.")
    row_of(page, "empty.txt").get_by_role("button", name="Remove").click()
    row_of(page, "notes.txt").get_by_role("button", name="Remove").click()
    expect(page.locator("[data-attachment]")).to_have_count(1)
    row_of(page, "bolt.png").get_by_text("Options").click()
    row_of(page, "bolt.png").get_by_role("button", name="Insert picture").click()
    picture = page.frame_locator("iframe >> nth=-1").locator("img")
    expect(picture).to_have_attribute("src", re.compile("/preview/files/.*/picture"), timeout=5 * SECONDS)
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    expect(page.locator("#code-curl-text")).to_contain_text('"content_id": "bolt.png"')
    page.fill("#id_recipient", "hera@olimpus.com")
    page.click("text=Send email")

    expect(page.get_by_text("Accepted.")).to_be_visible()
    picture = page.frame_locator(".mail-frame").locator("img")
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    page.get_by_role("tab", name="Files 1").click()
    expect(page.locator("#message-files")).to_contain_text("bolt.png image/png")


@browser_only
def test_a_file_that_is_too_large_to_attach_is_sent_as_a_link(visitor, settings):
    settings.MERCURY_BASE_URL, settings.MERCURY_MAX_ATTACHMENT_SIZE = "https://mercury.olimpus.com", 10
    page = visitor.sign_in(zeus())

    add_files(page, large_txt=b"x" * 1_200_000, small_txt=b"Hi")
    expect(row_of(page, "small.txt")).to_contain_text("Uploaded")

    expect(row_of(page, "large.txt").get_by_text("Sent as a download link.")).to_be_visible()
    expect(row_of(page, "small.txt").get_by_text("Sent as a download link.")).to_be_hidden()
    row_of(page, "small.txt").get_by_text("Options").click()
    row_of(page, "small.txt").get_by_label("Send as").select_option("link")
    expect(row_of(page, "small.txt").get_by_text("Sent as a download link.")).to_be_visible()
    expect(page.locator("#code-curl-text")).to_contain_text('"delivery": "link"')
    page.fill("#id_recipient", "hera@olimpus.com")
    page.click("text=Send email")

    expect(page.get_by_role("heading", name="Download links")).to_be_visible()
    expect(page.locator("section", has_text="Download links").last).to_contain_text("large.txt")


@browser_only
def test_an_upload_that_breaks_off_goes_on_and_the_email_waits_for_it(visitor):
    page = visitor.sign_in(zeus())
    broken = []

    def break_off_once(route) -> None:
        broken.append(route.request.method)
        if len(broken) == 1:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route(re.compile("/api/v1.0/files/"), break_off_once)
    add_files(page, notes_txt=b"Hi")
    expect(row_of(page, "notes.txt")).to_contain_text("Connection lost, retrying")
    page.fill("#id_recipient", "hera@olimpus.com")
    page.click("text=Send email")
    expect(page.get_by_text("sent as soon as the files are uploaded")).to_be_visible()

    expect(page.get_by_text("Accepted.")).to_be_visible(timeout=10 * SECONDS)
    assert broken == ["POST", "POST"]
    assert any("ERR_CONNECTION_RESET" in line for line in visitor.complaints)
    visitor.complaints.clear()


@browser_only
def test_a_large_file_goes_on_where_it_broke_off(visitor):
    page = visitor.sign_in(zeus())
    content, asked = b"x" * 600_000 + b"y" * 600_000, []

    def deliver_half_of_the_first(route) -> None:
        request = route.request
        asked.append((request.method, request.headers.get("upload-offset")))
        if request.method != "PATCH" or len(asked) > 2:
            route.continue_()
            return
        route.fetch(post_data=content[:600_000])
        route.abort("connectionreset")

    page.route(re.compile("/api/v1.0/files/"), deliver_half_of_the_first)
    add_files(page, large_txt=content)

    expect(row_of(page, "large.txt")).to_contain_text("Uploaded", timeout=10 * SECONDS)
    assert asked == [("POST", None), ("PATCH", "0"), ("HEAD", None), ("PATCH", "600000")]
    assert StoredFile.objects.get().content.sha256 == hashlib.sha256(content).hexdigest()
    visitor.complaints.clear()


@browser_only
def test_what_the_server_refuses_is_said_next_to_the_file(visitor):
    page = visitor.sign_in(zeus())

    add_files(page, page_png=b"<html>")

    row = row_of(page, "page.png")
    expect(row.get_by_role("alert")).to_have_text("It is declared as image/png, but its content is text/html.")
    page.fill("#id_recipient", "hera@olimpus.com")
    page.click("text=Send email")
    expect(row.get_by_role("button", name="Remove")).to_be_focused()
    assert page.url.rstrip("/") == visitor.base
    visitor.complaints.clear()  # the browser itself reports the status 400


@browser_only
def test_files_are_dropped_onto_the_page(visitor):
    page = visitor.sign_in(zeus())

    transfer = page.evaluate_handle(
        "() => { const data = new DataTransfer(); data.items.add(new File(['Hi'], 'notes.txt')); return data; }"
    )
    for name in ("dragenter", "dragover"):
        page.dispatch_event("main", name, {"dataTransfer": transfer})
    expect(page.locator("[data-attachments].dropping")).to_have_count(1)
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})

    expect(row_of(page, "notes.txt")).to_contain_text("Uploaded")
    expect(page.locator("[data-attachments].dropping")).to_have_count(0)


@browser_only
@pytest.mark.one_leg
def test_the_preview_follows_what_is_typed_and_stays_out_of_the_history(visitor):
    page = visitor.sign_in(zeus())
    before = page.evaluate("history.length")

    for words in ("One", "Two"):
        page.fill("#id_html", f"<h1>{words}</h1><script>alert(1)</script>")
        expect(page.frame_locator("iframe >> nth=-1").get_by_role("heading", name=words)).to_be_visible(
            timeout=5 * SECONDS
        )
    page.get_by_role("button", name="Phone").click()

    assert page.evaluate("history.length") == before
    assert page.locator("[data-draft-preview] iframe").last.bounding_box()["width"] < 400


@browser_only
@pytest.mark.one_leg
def test_without_scripts_the_form_has_all_it_needs(chromium, live_server, olympus):
    visitor = Visitor(chromium, live_server.url, java_script_enabled=False)
    page = visitor.sign_in(zeus())

    page.fill("#id_html", "<h1>Hi</h1>")
    page.click("text=Update the preview")
    expect(page.frame_locator("iframe").get_by_role("heading", name="Hi")).to_be_visible()
    add_files(page, notes_txt=b"Hi", other_txt=b"Ho")
    page.fill("#id_recipient", "nobody")
    page.click("text=Send email")
    expect(page.get_by_role("alert").first).to_contain_text("Please correct one error")
    row_of(page, "other.txt").get_by_label("Remove").check()
    page.fill("#id_recipient", "hera@olimpus.com")
    page.click("text=Send email")

    expect(page.get_by_text("Accepted.")).to_be_visible()
    expect(page.locator("#message-files")).to_contain_text("notes.txt")
    expect(page.locator("#message-files")).not_to_contain_text("other.txt")
    visitor.context.close()
