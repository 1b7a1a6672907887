import io
import os
from pathlib import Path

import pytest

from mails.message import mime
from mails.message.message import Mailbox
from mails.models import Mail
from mails.states import DeliveryGuarantee, Source, Status
from mails.tests.builders import HERA, IRIS, ZEUS, event_names
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db(transaction=True)
HELLO = ("send", "--from", ZEUS, "--to", HERA, "--subject", "You made my day")


@pytest.fixture(autouse=True)
def embedded(settings):
    settings.REDIS_URL = ""
    settings.MERCURY_EMBEDDED = True


def test_a_mail_is_handed_in_and_its_id_and_page_are_printed(settings):
    settings.MERCURY_BASE_URL = "https://mail.olimpus.com"

    ran = run(*HELLO, "--to", IRIS)

    mail = Mail.objects.get()
    assert (ran.code, ran.out.split()) == (0, [str(mail.pk), f"https://mail.olimpus.com/mails/{mail.pk}"])
    assert (mail.source, mail.recipient, mail.subject) == (Source.COMMAND, f"{HERA}, {IRIS}", "You made my day")


def test_without_a_base_url_the_page_is_named_by_its_path(settings):
    settings.MERCURY_BASE_URL = ""

    ran = run(*HELLO)

    mail = Mail.objects.get()
    assert ran.out.splitlines() == [str(mail.pk), f"/mails/{mail.pk}"]


def test_the_body_is_read_from_a_file(tmp_path):
    (tmp_path / "body.txt").write_text("Hi\n")

    run(*HELLO, "--text", str(tmp_path / "body.txt"))

    assert Mail.objects.get().content.text == "Hi\n"


def test_the_body_is_read_from_standard_input(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("Hi"))

    run(*HELLO, "--text", "-")

    assert Mail.objects.get().content.text == "Hi"


def test_every_part_of_an_email_has_an_option(tmp_path):
    (tmp_path / "body.html").write_text("<p>Hi</p>")
    options = {
        "--to": f"Iris <{IRIS}>",
        "--cc": "ares@olimpus.com",
        "--bcc": "hades@olimpus.com",
        "--reply-to": "Hermes <hermes@olimpus.com>",
        "--html": str(tmp_path / "body.html"),
        "--header": "X-Order: 17",
        "--metadata": "order=17=18",
        "--tag": "crown",
        "--unsubscribe-url": "https://olimpus.com/stop?who=hera",
        "--unsubscribe-mailto": "stop@olimpus.com",
    }

    run(*HELLO, "--header", "X-Zeta=1", "--tag", "v2", *(word for option in options.items() for word in option))

    message = mime.read_message(Mail.objects.get())
    assert [(to.kind, to.shown) for to in message.recipients] == [
        ("to", HERA),
        ("to", f'"Iris" <{IRIS}>'),
        ("cc", "ares@olimpus.com"),
        ("bcc", "hades@olimpus.com"),
    ]
    assert (message.text, message.html) == ("Hi", "<p>Hi</p>")
    assert message.reply_to == (Mailbox(address="hermes@olimpus.com", name="Hermes"),)
    assert (dict(message.headers), message.tags) == ({"X-Zeta": "1", "X-Order": "17"}, ("v2", "crown"))
    assert message.metadata == {"order": "17=18"}
    assert set(message.unsubscribe_headers) == {"List-Unsubscribe", "List-Unsubscribe-Post"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--header", "X-A=1", "--header", "X-A=2"), "given twice"),
        (("--header", "Bcc: iris@olimpus.com"), "headers/Bcc: 'Bcc' is not a header of your own"),
        (("--cc", "nobody"), "cc/0: 'nobody' is not a valid email address"),
        (("--text", "-", "--html", "-"), "Standard input has text or HTML"),
        (("--html", "nowhere.html"), "--html nowhere.html"),
    ],
)
def test_wrong_parts_are_wrong_use(options, words):
    ran = run(*HELLO, *options)

    assert ran.code == 2
    assert words in ran.error
    assert not Mail.objects.exists()


def test_a_header_has_a_name_and_a_text():
    assert "'X-Order' is not NAME=TEXT" in run(*HELLO, "--header", "X-Order").error


def test_a_missing_file_is_wrong_use():
    ran = run(*HELLO, "--text", "nowhere.txt")

    assert ran.code == 2
    assert "nowhere.txt" in ran.error
    assert not Mail.objects.exists()


def test_files_are_attached(tmp_path):
    (tmp_path / "seal.txt").write_text("All is well.\n")

    run(*HELLO, "--attach", str(tmp_path / "seal.txt"))

    (file,) = Mail.objects.get().files.all()
    assert (file.filename, file.content_type, file.size) == ("seal.txt", "text/plain", 13)


def test_a_file_that_is_missing_is_wrong_use(tmp_path):
    ran = run(*HELLO, "--attach", str(tmp_path / "seal.txt"))

    assert (ran.code, Mail.objects.exists()) == (2, False)
    assert "--attach" in ran.error


@pytest.mark.parametrize("option", ["--attach", "--html", "--text"])
@pytest.mark.parametrize("kind", ["/dev/zero", "a folder", "a pipe without a writer", "a link to itself", "too large"])
def test_what_has_no_end_and_no_content_is_refused(tmp_path, settings, option, kind):
    settings.MERCURY_MAX_SIZE = settings.MERCURY_MAX_FILE_SIZE = 10_000
    given = tmp_path / "given"
    match kind:
        case "/dev/zero":
            given = Path(kind)
        case "a folder":
            given.mkdir()
        case "a pipe without a writer":
            os.mkfifo(given)
        case "a link to itself":
            given.symlink_to(given)
        case "too large":
            given.write_bytes(b"x" * 10_001)

    ran = run(*HELLO, option, str(given))

    if kind == "a pipe without a writer" and option != "--attach":  # it is an empty text
        assert ran.code == 0
    else:
        assert (ran.code, Mail.objects.exists()) == (2, False)


def test_a_pipe_is_attached(tmp_path):
    pipe = tmp_path / "pipe.txt"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)  # keeps what is written
    pipe.write_bytes(b"All is well.\n")

    run(*HELLO, "--attach", str(pipe))

    os.close(reader)
    assert Mail.objects.get().files.get().size == 13


def test_an_invalid_mail_names_each_field_and_is_wrong_use():
    ran = run("send", "--from", "zeus", "--to", HERA)

    assert ran.code == 2
    assert "sender:" in ran.error
    assert not Mail.objects.exists()


def test_the_same_key_gives_the_same_mail():
    first = run(*HELLO, "--key", "order-1", "--json").document
    second = run(*HELLO, "--key", "order-1", "--json").document

    assert first["id"] == second["id"]


def test_the_same_key_with_another_mail_fails():
    run(*HELLO, "--key", "order-1")

    ran = run("send", "--from", ZEUS, "--to", IRIS, "--key", "order-1")

    assert ran.code == 1
    assert "a different body" in ran.error


def test_bulk_email_waits_in_the_queue_bulk():
    sent = run(*HELLO, "--queue", "bulk", "--json")

    assert sent.document["queue"] == "bulk"
    assert "invalid choice: 'text'" in run(*HELLO, "--queue", "text").error


def test_a_dry_run_stores_nothing():
    ran = run(*HELLO, "--dry-run")

    assert HERA in ran.out
    assert not Mail.objects.exists()


def test_waiting_dispatches_by_itself_and_shows_the_timeline(olympus):
    ran = run(*HELLO, "--wait")

    assert ran.code == 0
    mail = Mail.objects.get()
    shown = [name for name in event_names(mail) if name in ran.out]
    assert shown == ["NEW", "ACCEPTED", "ENQUEUE", "DEQUEUE", "READY TO SEND", "SEND", "DONE"]
    assert "Sent. Accepted by olympus" in ran.out


def test_waiting_ends_with_1_when_nobody_takes_it(olympus):
    olympus.refuse(400)

    ran = run(*HELLO, "--wait", "--json")

    assert (ran.code, ran.document["status"]) == (1, Status.DISCARDED)


def test_waiting_ends_with_4_when_the_mail_is_held(olympus):
    olympus.lose_answer()

    ran = run(*HELLO, "--guarantee", DeliveryGuarantee.AT_MOST_ONCE, "--wait", "--json")

    assert (ran.code, ran.document["status"]) == (4, Status.HELD)


def test_waiting_ends_with_4_when_the_time_is_over(olympus):
    olympus.refuse(503)

    ran = run(*HELLO, "--wait", "300ms", "--json")

    assert ran.code == 4
    assert ran.document["status"] in {Status.QUEUED, Status.SENDING, Status.WAITING}
