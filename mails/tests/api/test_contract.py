"""The statements of the v1.0 contract, one test each, in the contract's order."""

import re
import uuid

import pytest

from mails.lifecycle import writer
from mails.models import Event, Mail
from mails.states import EventName, Status
from mails.tests.builders import dispatch
from mails.tests.callers import HELLO, HERA, MAILS, ZEUS, caller, problem

pytestmark = pytest.mark.django_db
HOST = "mail.localhost:8000"


@pytest.fixture
def zeus(settings):
    settings.ALLOWED_HOSTS = ["mail.localhost", "testserver"]
    return caller()


def sent(client, **changes):
    answer = client.post(MAILS, HELLO | changes, HTTP_HOST=HOST)
    assert answer.status_code == 202, answer.content
    return answer


@pytest.mark.django_db(transaction=True)  # the dispatcher has a connection of its own
def test_the_worked_example(zeus, olympus):
    zeus.key.senders = ["mercury@olimpus.com"]
    zeus.key.save()
    mail = {
        "sender": "mercury@olimpus.com",
        "recipient": "zeus@olimpus.com",
        "subject": "You made my day",
        "content": "Hi",
    }

    answer = zeus.post(MAILS, mail, HTTP_HOST=HOST)
    dispatch()

    assert answer.status_code == 202
    assert re.fullmatch(rf"http://{HOST}/api/v1\.0/mails/[0-9a-f-]{{36}}", answer["Location"])
    shown = zeus.get(answer["Location"], HTTP_HOST=HOST).json()
    assert mail.items() <= shown.items()
    assert shown["url"] == answer["Location"]
    events = zeus.get(shown["events"], HTTP_HOST=HOST).json()["events"]
    last = zeus.get(events[-1], HTTP_HOST=HOST).json()
    assert last["event"] == "DONE"
    assert '"status_code": ' in last["blob"]
    assert last["created_by"].startswith("olympus:")
    assert last["mail_id"] == shown["id"]
    assert isinstance(last["created_at"], int)


def test_a_mail_is_accepted_with_its_location_its_id_and_a_json_object(zeus):
    answer = sent(zeus)

    body = answer.json()
    assert answer["MailId"] == body["id"]
    assert uuid.UUID(body["id"]).version == 7
    assert answer["Location"] == body["url"] == f"http://{HOST}{MAILS}{body['id']}"
    assert body["events"] == f"http://{HOST}{MAILS}{body['id']}/events/"


def test_single_resources_answer_with_and_without_a_trailing_slash(zeus):
    mail = sent(zeus).json()
    event = zeus.get(mail["events"], HTTP_HOST=HOST).json()["events"][0]

    for url in (mail["url"], mail["url"] + "/", event, event + "/"):
        assert zeus.get(url, HTTP_HOST=HOST).status_code == 200
    assert not mail["url"].endswith("/")
    assert not event.endswith("/")


def test_collections_without_their_slash_answer_and_lose_no_body(zeus):
    answer = zeus.post(MAILS.rstrip("/"), HELLO)

    assert answer.status_code == 202
    assert zeus.get(MAILS.rstrip("/")).json()["meta"]["total"] == 1
    events = answer.json()["events"].rstrip("/")
    assert zeus.post(events, {"event": "READ"}).status_code == 201
    assert zeus.get(events).json()["meta"]["total"] == 4


def test_all_urls_are_on_the_host_that_was_asked(zeus):
    mail = sent(zeus).json()

    for host in (HOST, "testserver"):
        for path in (MAILS, MAILS + "?expand=true", f"{MAILS}{mail['id']}", f"{MAILS}{mail['id']}/events/?expand=true"):
            answer = zeus.get(path, HTTP_HOST=host)
            urls = re.findall(r"https?://[^/\"]+", answer.content.decode() + answer.get("Link", ""))
            assert set(urls) == {f"http://{host}"}


def test_the_mails_fields_have_their_names_and_types(zeus):
    mail = zeus.get(sent(zeus).json()["url"], HTTP_HOST=HOST).json()

    for name in ("id", "sender", "recipient", "recipients", "subject", "content", "events", "url"):
        assert isinstance(mail[name], str)


@pytest.mark.parametrize("name", ["recipient", "recipients"])
@pytest.mark.parametrize(
    "value",
    [
        "hera@olimpus.com, iris@olimpus.com",
        "hera@olimpus.com iris@olimpus.com",
        "hera@olimpus.com,iris@olimpus.com",
        ["hera@olimpus.com", "iris@olimpus.com"],
    ],
)
def test_several_recipients_have_three_forms_and_two_names(zeus, name, value):
    mail = {"sender": ZEUS, name: value}

    shown = zeus.post(MAILS, mail).json()

    assert shown["recipient"] == shown["recipients"] == "hera@olimpus.com, iris@olimpus.com"


def test_subject_and_content_may_be_absent_or_null(zeus):
    for mail in ({"sender": ZEUS, "recipient": HERA}, HELLO | {"subject": None, "content": None}):
        shown = zeus.post(MAILS, mail).json()
        assert (shown["subject"], shown["content"]) == ("", "")


def test_the_longest_subject_and_sender_pass_and_one_more_does_not(zeus):
    assert sent(zeus, subject="x" * 512)
    problem(zeus.post(MAILS, HELLO | {"subject": "x" * 513}), 400, "invalid_mail")
    problem(zeus.post(MAILS, HELLO | {"sender": "x" * 245 + "@olimpus.com"}), 400, "invalid_mail")


def test_content_has_no_small_bound(zeus):
    content = "0123456789" * 100_000

    answer = sent(zeus, content=content)

    assert zeus.get(answer["Location"], HTTP_HOST=HOST).json()["content"] == content


@pytest.mark.parametrize("field", ["sender", "recipient"])
@pytest.mark.parametrize("value", [None, "", "not an address", 7, "a@b@c.com"])
def test_a_missing_or_invalid_address_is_a_400_that_names_field_and_problem(zeus, field, value):
    found = problem(zeus.post(MAILS, HELLO | {field: value}), 400, "invalid_mail")

    assert [error["pointer"] for error in found["errors"]] == [f"/{field}"]
    assert found["error"] == "Bad Request"
    assert found["message"].startswith(f"{field}: ")


def test_a_mail_that_was_read_can_be_posted_again(zeus):
    shown = sent(zeus).json()

    kept = {name: shown[name] for name in ("id", "url", "events", "sender", "recipient", "subject", "content")}
    again = zeus.post(MAILS, kept).json()

    assert again["id"] != shown["id"]


def test_a_misspelt_field_is_a_400_that_names_it(zeus):
    found = problem(zeus.post(MAILS, HELLO | {"subjet": "x"}), 400)

    assert found["errors"][0]["pointer"] == "/subjet"
    assert "subject" in found["errors"][0]["detail"]


def test_a_request_that_fails_validation_is_kept_and_named_in_the_400(zeus):
    found = problem(zeus.post(MAILS, {"content": "x" * 10_000}, HTTP_HOST=HOST), 400)

    mail = zeus.get(found["mail"], HTTP_HOST=HOST).json()
    events = zeus.get(mail["events"] + "?expand=true", HTTP_HOST=HOST).json()["events"]
    assert (mail["status"], mail["sender"], mail["recipient"]) == ("rejected", "", "")
    assert len(mail["content"]) < 10_000
    assert [event["event"] for event in events] == ["NEW", "BAD REQUEST"]


def test_an_event_has_its_fields_and_types(zeus):
    mail = sent(zeus).json()

    event = zeus.get(mail["events"] + "?expand=true", HTTP_HOST=HOST).json()["events"][0]

    assert isinstance(event["id"], int)
    assert isinstance(event["created_at"], int)
    assert len(str(event["created_at"])) == 19
    assert event["mail_id"] == mail["id"]
    assert (event["event"], event["created_by"]) == ("NEW", "Mail Service")
    assert isinstance(event["blob"], str)


def test_the_first_events_are_new_accepted_enqueue(zeus):
    mail = sent(zeus).json()

    events = zeus.get(mail["events"] + "?expand=true", HTTP_HOST=HOST).json()["events"]

    assert [event["event"] for event in events] == ["NEW", "ACCEPTED", "ENQUEUE"]
    assert [event["id"] for event in events] == sorted(event["id"] for event in events)


def test_to_append_an_event_only_its_name_must_be_sent(zeus):
    mail = sent(zeus).json()

    answer = zeus.post(mail["events"], {"event": "READ BY HERA"}, HTTP_HOST=HOST)

    assert answer.status_code == 201
    event = answer.json()
    assert answer["Location"] == event["url"] == f"{mail['events']}{event['id']}"
    assert zeus.get(answer["Location"], HTTP_HOST=HOST).json() == event
    assert (event["event"], event["mail_id"], event["blob"]) == ("READ BY HERA", mail["id"], "")
    assert event["created_by"] == "key:zeus"


def test_an_appended_event_belongs_to_the_mail_of_the_path_whatever_it_says(zeus):
    one, other = sent(zeus).json(), sent(zeus).json()
    said = {"event": "READ", "blob": "{}", "mail_id": other["id"], "created_by": "Dispatcher", "created_at": 1, "id": 7}

    event = zeus.post(one["events"], said, HTTP_HOST=HOST).json()

    assert event["mail_id"] == one["id"]
    assert event["created_by"] == "key:zeus"
    assert event["created_at"] > 10**18
    assert event["blob"] == "{}"


@pytest.mark.parametrize("name", EventName.values)
def test_the_names_of_the_model_need_a_scope_of_their_own(name):
    zeus = caller(scopes=["mails:send", "mails:read", "events:write"])
    mail = zeus.post(MAILS, HELLO).json()

    found = problem(zeus.post(mail["events"], {"event": name}), 403, "missing_scope")

    assert "events:system" in found["detail"]
    assert Event.objects.count() == 3


def test_no_appended_event_moves_a_mail(zeus):
    mail = sent(zeus).json()

    for name in ("DONE", "DISCARDED", "CANCELLED", "RETRY"):
        assert zeus.post(mail["events"], {"event": name}).status_code == 201

    assert Mail.objects.get().status == Status.QUEUED


@pytest.mark.parametrize("path", [MAILS, "{events}"])
def test_lists_hold_urls_and_expanded_whole_objects(zeus, path):
    mail = sent(zeus).json()
    path = path.format(**mail)
    name = "events" if "events" in path else "mails"

    urls = zeus.get(path, HTTP_HOST=HOST).json()[name]
    objects = zeus.get(path + "?expand=true", HTTP_HOST=HOST).json()[name]

    assert objects == [zeus.get(url, HTTP_HOST=HOST).json() for url in urls]
    assert urls == [mail["url"] for mail in objects]


def test_meta_has_its_keys_and_at_most_twenty_a_page(zeus):
    for _ in range(21):
        sent(zeus)

    found = zeus.get(MAILS, HTTP_HOST=HOST).json()

    assert set(found["meta"]) == {
        "page", "per_page", "total", "pages", "first_url", "last_url", "prev_url", "next_url"
    }  # fmt: skip
    assert (len(found["mails"]), found["meta"]["total"], found["meta"]["pages"]) == (20, 21, 2)
    assert found["meta"]["prev_url"] is None
    second = zeus.get(found["meta"]["next_url"], HTTP_HOST=HOST).json()
    assert len(second["mails"]) == 1
    assert second["meta"]["next_url"] is None


def test_a_page_beyond_the_last_is_a_404_and_page_one_of_an_empty_list_is_not(zeus):
    assert zeus.get(MAILS).json()["mails"] == []
    problem(zeus.get(MAILS + "?page=2"), 404, "no_such_page")


def test_a_list_read_after_a_write_shows_it_first(zeus):
    for _ in range(2):
        mail = sent(zeus).json()
        assert zeus.get(MAILS, HTTP_HOST=HOST).json()["mails"][0] == mail["url"]


@pytest.mark.parametrize(
    ("query", "subjects"),
    [
        ("filter=subject,eq,one", ["one"]),
        ("filter=subject,like,o%25;recipient,eq,hera@olimpus.com", ["one"]),
        ("filter=sender,in,zeus@olimpus.com,nobody@olimpus.com&sort=subject", ["one", "three", "two"]),
        ("filter=status,ne,rejected&sort=recipient;subject,desc", ["two", "three", "one"]),
        ("sort=subject,desc", ["two", "three", "one"]),
        ("filter=created,gt,2020-01-01&sort=created", ["one", "two", "three"]),
        ("filter=attempts,ge,1", []),
    ],
)
def test_mails_are_filtered_and_sorted(zeus, query, subjects):
    for subject in ("one", "two", "three"):
        sent(zeus, subject=subject)

    found = zeus.get(f"{MAILS}?expand=true&{query}").json()["mails"]

    assert [mail["subject"] for mail in found] == subjects


def test_a_mail_is_found_by_its_id(zeus):
    first, second, third = (sent(zeus).json() for _ in range(3))

    found = zeus.get(f"{MAILS}?filter=id,eq,{second['id']}", HTTP_HOST=HOST).json()["mails"]
    later = zeus.get(f"{MAILS}?filter=id,gt,{second['id']}", HTTP_HOST=HOST).json()["mails"]

    assert found == [second["url"]]
    assert later == [third["url"]]
    assert first["url"] not in found + later


def test_events_are_filtered_and_sorted(zeus):
    mail = sent(zeus).json()
    zeus.post(mail["events"], {"event": "READ"})

    def names(query):
        return [event["event"] for event in zeus.get(f"{mail['events']}?expand=1&{query}").json()["events"]]

    assert names("filter=event,like,%25E%25&sort=id,desc") == ["READ", "ENQUEUE", "ACCEPTED", "NEW"]
    assert names("filter=created_by,ne,Mail%20Service") == ["READ"]
    assert names("filter=created_at,le,9223372036854775807;event,lt,C") == ["ACCEPTED"]
    assert names("sort=event") == ["ACCEPTED", "ENQUEUE", "NEW", "READ"]


@pytest.mark.parametrize("query", ["filter=content,eq,x", "sort=content", "filter=id", "filter=id,eq,7", "sort=id,up"])
def test_any_other_filter_or_order_is_a_400_with_the_allowed_list(zeus, query):
    found = problem(zeus.get(f"{MAILS}?{query}"), 400)

    if "content" in query:
        assert {"id", "sender", "recipient", "subject"} <= set(found["allowed"])


def test_clients_see_their_own_mails_only():
    zeus, hera = caller(), caller("hera", senders=[HERA])
    mail = zeus.post(MAILS, HELLO).json()
    event = zeus.get(mail["events"]).json()["events"][0]

    assert hera.get(MAILS).json()["meta"]["total"] == 0
    for url in (mail["url"], mail["events"], event):
        assert problem(hera.get(url), 404)["detail"] == problem(hera.get(MAILS + "x"), 404)["detail"]
    problem(hera.post(mail["events"], {"event": "READ"}), 404)
    assert writer.Event.objects.filter(event="READ").count() == 0
