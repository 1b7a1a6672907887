"""The fields of a whole message: what is submitted is read back, found again, and shown to nobody else."""

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone

from mails.models import Content, Mail, MailLabel
from mails.tests.builders import HERA, IRIS, ZEUS
from mails.tests.callers import HELLO, MAILS, caller

pytestmark = pytest.mark.django_db
ARES = "ares@olimpus.com"
WHOLE = {
    "sender": f"Zeus <{ZEUS}>",
    "to": [{"email": HERA, "name": "Hera, the queen"}, f"Ἶρις <{IRIS}>"],
    "cc": ARES,
    "bcc": [{"email": "hades@olimpus.com"}],
    "reply_to": "Hermes <hermes@olimpus.com>",
    "subject": "You made my day",
    "text": "Hi",
    "html": "<p>Hi</p>",
    "headers": {"X-Zeta": "1", "X-Alpha": "Grüße", "References": "<1@olimpus.com>"},
    "tags": ["welcome", "crown"],
    "metadata": {"order": "17", "customer": "Ἥρα"},
    "unsubscribe_url": "https://olimpus.com/stop",
    "unsubscribe_mailto": "stop@olimpus.com?subject=stop",
}
SHOWN = {
    "recipient": f"{HERA}, {IRIS}",
    "recipients": f"{HERA}, {IRIS}",
    "content": "Hi",
    "html": "<p>Hi</p>",
    "to": [{"email": HERA, "name": "Hera, the queen"}, {"email": IRIS, "name": "Ἶρις"}],
    "cc": [{"email": ARES, "name": ""}],
    "bcc": [{"email": "hades@olimpus.com", "name": ""}],
    "reply_to": [{"email": "hermes@olimpus.com", "name": "Hermes"}],
    **{name: WHOLE[name] for name in ("headers", "tags", "metadata", "unsubscribe_url", "unsubscribe_mailto")},
    "queue": "html",
}


@pytest.fixture
def zeus():
    return caller()


def shown(answer):
    return {name: answer[name] for name in SHOWN}


def test_every_field_is_read_as_it_was_submitted(zeus):
    answer = zeus.post(MAILS, WHOLE)
    mail = zeus.get(answer.headers["Location"]).json()
    (listed,) = zeus.get(f"{MAILS}?expand=true").json()["mails"]

    assert answer.status_code == 202
    assert shown(mail) == shown(listed) == SHOWN
    assert list(mail["headers"]) == list(WHOLE["headers"])
    assert [(each["kind"], each["name"], each["email"]) for each in mail["recipients_detail"]] == [
        ("to", "Hera, the queen", HERA),
        ("to", "Ἶρις", IRIS),
        ("cc", "", ARES),
        ("bcc", "", "hades@olimpus.com"),
    ]


def test_an_email_without_them_has_them_empty(zeus):
    mail = zeus.get(zeus.post(MAILS, HELLO).headers["Location"]).json()

    assert (mail["html"], mail["unsubscribe_url"], mail["unsubscribe_mailto"]) == ("", "", "")
    assert mail["cc"] == mail["bcc"] == mail["reply_to"] == mail["tags"] == []
    assert mail["headers"] == mail["metadata"] == {}
    assert not MailLabel.objects.exists()


def test_blind_copies_are_for_the_client_that_named_them(zeus, client):
    url = zeus.post(MAILS, WHOLE).headers["Location"]
    athena = User.objects.create_user("athena")
    athena.user_permissions.add(Permission.objects.get(codename="view_mail"))
    client.force_login(athena)

    seen = client.get(url).json()

    assert seen["cc"] == SHOWN["cc"]
    assert seen["bcc"] == []
    assert "hades" not in str(seen)
    assert zeus.get(url).json()["bcc"] == SHOWN["bcc"]


def test_a_list_without_room_leaves_out_bodies_alone(zeus, monkeypatch):
    monkeypatch.setattr("mails.api.viewsets.mails.LISTED_TEXT", 10)
    zeus.post(MAILS, WHOLE)

    (listed,) = zeus.get(f"{MAILS}?expand=true").json()["mails"]

    assert (listed["content"], listed["html"], listed["content_omitted"]) == (None, None, True)
    assert shown(listed) == SHOWN | {"content": None, "html": None}


def test_tags_and_metadata_outlive_the_body(zeus):
    url = zeus.post(MAILS, WHOLE).headers["Location"]
    Mail.objects.update(text_removed_at=timezone.now())
    Content.objects.all().delete()

    mail = zeus.get(url).json()

    assert (mail["content"], mail["html"], mail["headers"], mail["reply_to"]) == ("", "", {}, [])
    assert (mail["tags"], mail["metadata"], mail["to"]) == (WHOLE["tags"], WHOLE["metadata"], SHOWN["to"])
    assert zeus.get(f"{MAILS}?expand=true").json()["mails"][0]["tags"] == WHOLE["tags"]


@pytest.mark.parametrize(
    ("clause", "found"),
    [
        ("tags,eq,welcome", "ab"),
        ("tags,eq,Welcome", ""),
        ("tags,ne,welcome", "cd"),
        ("tags,in,crown,news", "ac"),
        ("tags,like,WEL%", "ab"),
        ("tags,lt,d", "a"),
        ("tags,eq,welcome;tags,eq,crown", "a"),
        ("metadata.order,eq,17", "ac"),
        ("metadata.order,ne,17", "bd"),
        ("metadata.order,ge,2", "b"),
        ("metadata.order,eq,17;tags,eq,news", "c"),
        ("metadata.nothing,eq,17", ""),
        ("metadata.order,eq,", ""),
    ],
)
def test_lists_are_filtered_by_tags_and_metadata(zeus, clause, found):
    for subject, fields in {
        "a": {"tags": ["welcome", "crown"], "metadata": {"order": "17"}},
        "b": {"tags": ["welcome"], "metadata": {"order": "2", "other": "17"}},
        "c": {"tags": ["news"], "metadata": {"order": "17"}},
        "d": {},
    }.items():
        zeus.post(MAILS, HELLO | {"subject": subject, **fields})

    page = zeus.get(MAILS, {"expand": "true", "filter": clause, "sort": "subject"}).json()

    assert "".join(mail["subject"] for mail in page["mails"]) == found
    assert page["meta"]["total"] == len(found)


def test_a_filter_finds_none_of_another_client(zeus):
    caller("hermes").post(MAILS, WHOLE)

    assert zeus.get(MAILS, {"filter": "tags,eq,welcome"}).json()["mails"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"sort": "tags"},
        {"sort": "metadata.order"},
        {"filter": "metadata,eq,17"},
        {"filter": "metadata.,eq,17"},
        {"filter": "metadata.*,eq,17"},
        {"filter": "tags.a,eq,17"},
        {"filter": "tags,eq"},
        {"filter": "tags,has,a"},
        {"filter": "headers,eq,a"},
    ],
)
def test_other_filters_are_refused(zeus, query):
    answer = zeus.get(MAILS, query)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["parameter"] == next(iter(query))


def test_an_error_names_the_item(zeus):
    answer = zeus.post(
        MAILS, HELLO | {"cc": [{"email": "nobody"}], "headers": {"X/A": "1"}, "tags": ["a", 1], "metadata": ["a"]}
    )

    assert [error["pointer"] for error in answer.json()["errors"]] == [
        "/cc/0/email",
        "/headers/X~1A",
        "/tags/1",
        "/metadata",
    ]
    assert "cc/0/email: " in answer.json()["message"]


def test_the_answer_to_a_submission_shows_the_text_that_is_stored(zeus):
    html = {**HELLO, "content": None, "html": "<p>Hi <b>Hera</b></p>"}

    answers = [zeus.post(MAILS, html, headers={"Idempotency-Key": "crown"}).json() for _ in range(2)]

    assert [answer["content"] for answer in answers] == ["Hi Hera"] * 2
    assert zeus.get(answers[0]["url"]).json()["content"] == "Hi Hera"
