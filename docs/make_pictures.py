"""Take the pictures of the documentation from a running Mercury: `.venv/bin/python docs/make_pictures.py`.

Starts an embedded Mercury in a temporary data folder, lets one sandbox account fail while emails arrive, and photographs
the timeline of an email that failed over, the operators' overview and the form, each in light and dark. Shows a neutral
host name, and touches no other installation. Needs Debian's chromium, as the browser tests do (`CHROMIUM` names another).
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
MOST_BYTES = 220_000
EMAILS_A_MINUTE = (11, 17, 12)  # before the failure, so that the charts have a shape
EMAILS_DURING = 16
RECIPIENTS = ("hera", "apollo", "artemis", "athena", "hermes", "iris")
SUBJECTS = ("Your order is on its way", "Reset your password", "Your invoice", "Welcome to Olympus", "You made my day")
FORM = {
    "sender": "Mercury <mercury@olimpus.com>",
    "recipient": "Zeus <zeus@olimpus.com>, hera@olimpus.com",
    "bcc": "archive@olimpus.com",
    "subject": "You made my day!",
    "content": "Hi Zeus,\n\nyour nectar is on its way. The invoice is attached.\n\nAll the best,\nMercury",
    "html": """<div style="padding: 24px; background: #fdf6e3">
  <h1 style="color: #0f766e">You made my day!</h1>
  <p>Hi Zeus,</p>
  <p>your nectar is on its way.</p>
  <a href="https://olimpus.com/invoice" style="padding: 8px 16px; background: #0f766e; color: #fff">Open the invoice</a>
</div>""",
}
SECONDS = 1000  # milliseconds, as playwright counts
HOST_NAME = "olympus"  # shown as the name of the worker, instead of this machine's own
NEUTRAL_HOST = f"import socket\n\nsocket.gethostname = lambda: {HOST_NAME!r}\n"


def manage(environment: Mapping[str, str], *arguments: str) -> str:
    """Run a command of Mercury's and return what it prints."""
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout


@contextmanager
def serve(environment: Mapping[str, str], port: int) -> Iterator[str]:
    """Serve Mercury on a port of 127.0.0.1 while the block runs, and yield its URL."""
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "mercury.wsgi"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            wait_until_ready(f"{url}/health/ready")
            yield url
        finally:
            process.terminate()


def wait_until_ready(url: str) -> None:
    """Wait until the URL answers 200; fail after a minute."""
    for _ in range(240):
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.25)
        else:
            return
    raise SystemExit(f"{url} did not answer within a minute.")


def submit(url: str, key: str, number: int) -> str:
    """Submit one email over the API and return its id."""
    recipient = f"{RECIPIENTS[number % len(RECIPIENTS)]}@olimpus.com"
    subject = SUBJECTS[number % len(SUBJECTS)]
    document = {"sender": "zeus@olimpus.com", "recipient": recipient, "subject": subject, "content": "Hi"}
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{url}/api/v1.0/mails/", json.dumps(document).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(json.load(answer)["id"])


def read_mail(url: str, key: str, mail_id: str) -> dict[str, object]:
    """Return an email as the API shows it."""
    request = urllib.request.Request(f"{url}/api/v1.0/mails/{mail_id}", headers={"Authorization": f"Bearer {key}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        document: dict[str, object] = json.load(answer)
        return document


def find_failover(url: str, key: str, mail_ids: list[str]) -> str:
    """Wait until all emails are sent and return the id of one that took two attempts."""
    for _ in range(120):
        mails = [read_mail(url, key, mail_id) for mail_id in mail_ids]
        if all(mail["status"] == "done" for mail in mails):
            return next(str(mail["id"]) for mail in mails if mail["attempts"] == 2)
        time.sleep(0.5)
    raise SystemExit("The emails were not sent within a minute.")


def sign_in(browser: Browser, url: str, scheme: str, login: tuple[str, str], width: int) -> Page:
    """Open a window in the colour scheme and sign in."""
    page = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900}).new_page()
    page.goto(f"{url}/login/")
    page.fill("#id_username", login[0])
    page.fill("#id_password", login[1])
    page.click("main button[type=submit]")
    page.wait_for_url(f"{url}/**", timeout=20 * SECONDS)
    return page


def save(page: Page, name: str, scheme: str, **clip: float) -> None:
    """Write one picture, and refuse one that is too large for a page."""
    path = PICTURES / f"{name}-{scheme}.png"
    page.screenshot(path=path, clip=clip, full_page=True, animations="disabled")
    size = path.stat().st_size
    print(f"{path.relative_to(ROOT)}: {size / 1000:.0f} kB")
    if size > MOST_BYTES:
        raise SystemExit(f"{path.name} has more than {MOST_BYTES / 1000:.0f} kB.")


def take_pictures(browser: Browser, url: str, scheme: str, login: tuple[str, str], mail_id: str) -> None:
    """Take all pictures in one colour scheme."""
    page = sign_in(browser, url, scheme, login, width=820)
    page.goto(f"{url}/admin/mails/mail/{mail_id}/change/")
    first, last = page.locator("#timeline .round").first, page.locator("#timeline > li").last
    top, bottom = first.bounding_box(), last.bounding_box()
    height = bottom["y"] + bottom["height"] - top["y"] + 24
    save(page, "failover", scheme, x=0, y=top["y"] - 12, width=820, height=height)
    page.set_viewport_size({"width": 1180, "height": 900})
    page.goto(f"{url}/admin/")
    page.wait_for_load_state("networkidle")
    save(page, "overview", scheme, x=0, y=0, width=1180, height=1000)
    take_picture_of_form(page, url, scheme)


def take_picture_of_form(page: Page, url: str, scheme: str) -> None:
    """Fill in the form, upload a file, and take its picture."""
    page.set_viewport_size({"width": 1280, "height": 1500})
    page.goto(f"{url}/")
    for name, text in FORM.items():
        page.fill(f"#id_{name}", text)
    page.set_input_files(
        "#id_uploads",
        {"name": "nectar-invoice.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.7" + bytes(184_000)},
    )
    page.locator("[data-state]", has_text="Uploaded").wait_for()
    page.frame_locator("iframe >> nth=-1").get_by_text("Open the invoice").wait_for()
    page.locator("h1").click()  # no field has the focus
    height = page.locator("[data-submit]").bounding_box()
    save(page, "form", scheme, x=0, y=0, width=1280, height=height["y"] + height["height"] + 24)


def main() -> None:
    """Set up, send through a failing account, and take the pictures."""
    PICTURES.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        ours = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "VIRTUAL_ENV"}}
        environment = {**ours, "MERCURY_DATA": folder, "DATABASE_URL": "", "REDIS_URL": "", "SECRET_KEY": ""}
        patches = Path(folder, "patches")
        patches.mkdir()
        (patches / "sitecustomize.py").write_text(NEUTRAL_HOST)
        environment["PYTHONPATH"] = str(patches)
        shown = json.loads(manage(environment, "setup", "--json"))
        with serve(environment, port) as url:
            key, login = shown["key"], (shown["username"], shown["password"])
            for emails in EMAILS_A_MINUTE:
                for number in range(emails):
                    submit(url, key, number)
                    time.sleep(45 / emails)
            manage(environment, "sandbox", "set", "sandbox-a", "refuse=503", "--for", "10m")
            mail_ids = [submit(url, key, number) for number in range(EMAILS_DURING)]
            mail_id = find_failover(url, key, mail_ids)
            time.sleep(25)  # arrivals and roll-ups are counted up to 20 s late
            arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
            for scheme in ("light", "dark"):
                take_pictures(browser, url, scheme, login, mail_id)
            browser.close()


if __name__ == "__main__":
    main()
