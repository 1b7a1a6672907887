"""Send a copy: a new email from a stored one, over the API, by command, from the admin and from the form."""

import base64
import datetime as dt
import json
import uuid

import pytest
from django.contrib.auth.models import Permission

from mails.access import api_keys
from mails.intake import copies
from mails.intake.client import Client
from mails.models import ApiKey, Content, DownloadLink, FileContent, Mail, MailFile, StoredFile
from mails.states import Source, Status
from mails.tests.builders import HELLO, HERA, IRIS, ZEUS, a_mail, dispatch, event_names, reloaded
from mails.tests.callers import MAILS, caller, problem
from mails.tests.commandline import run
from mails.tests.files.support import PNG
from mails.tests.people import browser_of, hermes, zeus
from mercury.lib.commands import ExitCode

pytestmark = pytest.mark.django_db(transaction=True)
WHOLE = {
    **HELLO,
    "sender": '"Zeus, the first" <zeus@olimpus.com>',
    "recipient": [{"email": HERA, "name": "Hera"}],
    "cc": [IRIS],
    "bcc": ["argus@olimpus.com"],
    "reply_to": "hermes@olimpus.com",
    "html": '<p>Hi <img src="cid:crown"></p>',
    "headers": {"X-Order": "17"},
    "tags": ["order"],
    "metadata": {"order": "17"},
    "unsubscribe_url": "https://olimpus.com/out",
    "queue": "bulk",
    "delivery_guarantee": "at-most-once",
}


def encode(content):
    """A content as JSON has it."""
    return base64.b64encode(content).decode()


def ours(client):
    """The client of intake with the key of this caller."""
    return Client(source=Source.API, api_key=client.key)


def a_sent_mail(client, **changes):
    """An email of this caller that was sent."""
    mail = a_mail(ours(client), **{**HELLO, **changes})
    Mail.objects.filter(pk=mail.pk).update(status=Status.DONE, next_attempt_at=None)
    return mail


def copy(client, mail, body=None, **headers):
    return client.post(f"{MAILS}{mail.pk}/copy", body, format="json", **headers)


def parts_of(client, mail_id):
    """What of an email does not depend on when it was sent."""
    shown = client.get(f"{MAILS}{mail_id}").json()
    names = ("sender", "subject", "content", "html", "to", "cc", "bcc", "reply_to", "headers", "tags", "metadata")
    more = ("unsubscribe_url", "queue", "delivery_guarantee")
    files = [(file["filename"], file["sha256"], file["content_id"]) for file in shown["files"]]
    return {name: shown[name] for name in (*names, *more)} | {"files": files}


def test_a_copy_has_all_parts_of_the_email_and_an_id_of_its_own(settings):
    settings.MERCURY_BASE_URL = "https://mail.olimpus.com"
    client = caller()
    files = [
        {"filename": "crown.png", "content": encode(PNG), "content_id": "crown"},
        {"filename": "list.txt", "content": encode(b"1 crown"), "delivery": "link"},
    ]
    mail = a_sent_mail(client, **WHOLE, attachments=files)

    answer = copy(client, mail)

    assert answer.status_code == 202
    made = answer.json()
    assert answer["Location"] == made["url"]
    assert uuid.UUID(answer["MailId"]) != mail.pk
    assert parts_of(client, made["id"]) == parts_of(client, mail.pk)
    assert client.get(made["url"]).json()["copy_of"] == str(mail.pk)
    assert FileContent.objects.count() == 2
    assert StoredFile.objects.count() == 0
    first, second = DownloadLink.objects.order_by("mail_id")
    assert first.sha256 == second.sha256
    assert first.pk != second.pk


def test_both_emails_name_each_other():
    client = caller("shop")
    mail = a_sent_mail(client)

    made = copy(client, mail).json()

    event = mail.events.last()
    assert (event.event, event.created_by, json.loads(event.blob)) == ("COPIED", "key:shop", {"copy": made["id"]})
    new = Mail.objects.get(pk=made["id"]).events.first()
    assert json.loads(new.blob)["copy_of"] == str(mail.pk)
    assert reloaded(mail).status == Status.DONE


def test_a_copy_is_sent_to_others_and_to_nobody_else(olympus):
    client = caller()
    mail = a_sent_mail(client, cc=IRIS, bcc="argus@olimpus.com")

    made = copy(client, mail, {"to": "hermes@olimpus.com", "bcc": IRIS}).json()
    dispatch()

    shown = client.get(made["url"]).json()
    assert [(who["email"], who["kind"], who["state"]) for who in shown["recipients_detail"]] == [
        ("hermes@olimpus.com", "to", "accepted"),
        (IRIS, "bcc", "accepted"),
    ]


def test_every_rule_applies_again():
    client = caller()
    mail = a_sent_mail(client)
    ApiKey.objects.update(senders=["hera@olimpus.com"])

    problem(copy(client, mail), 403, "sender_not_allowed")
    problem(copy(client, mail, {"to": "nobody"}), 400, "invalid_copy")
    assert problem(copy(client, mail, {"subject": "x"}), 400, "invalid_copy")["errors"][0]["pointer"] == "/subject"
    assert event_names(mail)[-1] != "COPIED"


def test_a_copy_counts_towards_the_limits_of_the_key():
    client = caller(recipients_per_day=2)
    mail = a_sent_mail(client)

    assert copy(client, mail)["RateLimit"].startswith('"recipients-per-day";r=0')
    problem(copy(client, mail), 429, "limit_reached")


def test_the_same_idempotency_key_makes_one_copy_and_another_email_is_another_body():
    client = caller()
    mail, other = a_sent_mail(client), a_sent_mail(client)

    first, again = (copy(client, mail, HTTP_IDEMPOTENCY_KEY="copy-1") for _ in range(2))

    assert first.json() == again.json()
    assert again["Idempotency-Replayed"] == "true"
    problem(copy(client, other, HTTP_IDEMPOTENCY_KEY="copy-1"), 422, "idempotency_key_reused")
    assert event_names(mail).count("COPIED") == 1


def test_somebody_elses_email_is_not_found_even_for_those_who_may_see_it():
    client = caller()
    mail = a_sent_mail(client)

    problem(copy(caller("other"), mail), 404)
    problem(browser_of(hermes()).post(f"{MAILS}{mail.pk}/copy"), 404)
    problem(copy(caller("reader", scopes=[api_keys.Scope.MAILS_READ]), mail), 403, "missing_scope")


def test_an_email_without_its_body_or_a_file_or_not_yet_sent_cannot_be_copied():
    client = caller()
    waiting, bare, cut = (
        a_mail(ours(client)),
        a_sent_mail(client),
        a_sent_mail(client, attachments=[{"filename": "crown.png", "content": encode(PNG)}]),
    )
    gone = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
    Content.objects.filter(mail=bare).delete()
    Mail.objects.filter(pk=bare.pk).update(text_removed_at=gone)
    MailFile.objects.filter(mail=cut).update(content=None)

    details = [problem(copy(client, mail), 409, "not_copyable")["detail"] for mail in (waiting, bare, cut)]

    assert details[0].startswith("Only an email that was sent")
    assert "its body was removed on 2026-01-02" in details[1]
    assert "its file “crown.png” was deleted" in details[2]


def test_no_client_can_give_the_hash_of_a_content_it_does_not_have():
    client = caller()
    a_sent_mail(client, attachments=[{"filename": "crown.png", "content": encode(PNG)}])
    stored = MailFile.objects.get()

    forged = {"filename": "x.png", "content": {"sha256": stored.content_id, "size": stored.size}}

    problem(client.post(MAILS, {**HELLO, "attachments": [forged]}), 400, "invalid_mail")


def test_the_command_sends_a_copy():
    client = caller()
    mail = a_sent_mail(client, cc=IRIS)

    forecast = run("copy", str(mail.pk), "--dry-run", "--json").document
    made = run("copy", str(mail.pk), "--to", "hermes@olimpus.com", "--json").document

    assert forecast == {"copy_of": str(mail.pk), "recipients": [HERA, IRIS], "dry_run": True}
    assert made["recipient"] == "hermes@olimpus.com"
    assert Mail.objects.get(pk=made["id"]).copy_of == mail.pk
    assert mail.events.last().created_by == "command line"
    assert "is not a valid email address" in run("copy", str(mail.pk), "--to", "nobody").error
    assert run("copy", "nonsense").code == ExitCode.FAILED


def test_the_admin_sends_a_copy_after_confirmation_and_leads_to_it():
    mail, operator = a_sent_mail(caller()), browser_of(hermes())
    page = f"/admin/mails/mail/{mail.pk}/copy/"

    shown = operator.get(page).text
    wrong = operator.post(page, {"recipient": "nobody"})
    answer = operator.post(page, {"recipient": IRIS, "idempotency_key": "k-1"}, follow=True)
    operator.post(page, {"recipient": IRIS, "idempotency_key": "k-1"})

    assert "with its own id, Message-ID and timeline" in shown
    assert wrong.status_code == 400
    assert "is not a valid email address" in wrong.text
    made = Mail.objects.get(copy_of=mail.pk)
    assert (made.recipient, made.user.get_username()) == (IRIS, "hermes")
    assert f'<dt>Copy of</dt><dd class="mono"><a href="/admin/mails/mail/{mail.pk}/change/">' in answer.text
    assert f'href="/admin/mails/mail/{made.pk}/change/"' in operator.get(f"/admin/mails/mail/{mail.pk}/change/").text


def test_an_operator_who_may_not_send_as_the_sender_is_told_so():
    mail, user = a_sent_mail(caller()), zeus("hera@olimpus.com")
    user.is_staff = True
    user.save()
    for name in ("view_mail", "change_mail"):
        user.user_permissions.add(Permission.objects.get(codename=name))
    page = f"/admin/mails/mail/{mail.pk}/copy/"

    operator = browser_of(user)

    assert f"You may not send as {ZEUS}" in operator.get(page).text
    assert operator.post(page, {}).status_code == 400
    assert not Mail.objects.filter(copy_of=mail.pk).exists()


def test_a_copy_from_the_form_is_linked_too():
    user = zeus()
    mail = a_mail(Client(source=Source.FORM, user=user))
    Mail.objects.filter(pk=mail.pk).update(status=Status.DONE, next_attempt_at=None)
    browser = browser_of(user)

    assert f'action="/?copy={mail.pk}"' in browser.get(f"/?copy={mail.pk}").text
    browser.post(f"/?copy={mail.pk}", {"sender": ZEUS, "recipient": IRIS, "subject": "again", "content": "Hi"})

    made = Mail.objects.get(copy_of=mail.pk)
    assert made.recipient == IRIS
    assert mail.events.last().created_by == "user:zeus"
    assert f'href="/mails/{made.pk}"' in browser.get(f"/mails/{mail.pk}").text


def test_a_forged_event_breaks_no_page():
    client = caller()
    mail = a_sent_mail(client)
    client.post(f"{MAILS}{mail.pk}/events/", {"event": "COPIED", "blob": '{"copy": "no id"}'})

    assert "no id" in browser_of(hermes()).get(f"/admin/mails/mail/{mail.pk}/change/").text


def test_an_email_that_is_not_copyable_says_why_before_anything_is_read():
    with pytest.raises(copies.NotCopyable, match="Only an email that was sent"):
        copies.build_copy(a_mail(), by="zeus")
