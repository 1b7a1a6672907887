"""`POST mails/batch`: many emails in one request, each judged alone, those accepted in one transaction."""

import base64
import datetime as dt
import io
import json

import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from mails.api.viewsets import batches
from mails.files import uploads
from mails.files.uploads import Owner
from mails.lifecycle import writer
from mails.models import ApiKey, FileContent, IdempotencyKey, Mail, uuid7
from mails.states import Status
from mails.tests.callers import HELLO, HERA, MAILS, ZEUS, caller, problem, send_raw
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db
BATCH = f"{MAILS}batch"


@pytest.fixture
def zeus():
    return caller()


def mails(number, **changes):
    return [HELLO | {"subject": f"News {index}"} | changes for index in range(number)]


def results(answer, status):
    assert answer.status_code == status, answer.content
    return answer.json()["results"]


def test_a_batch_of_good_emails_is_accepted_whole_and_in_order(zeus):
    answer = zeus.post(BATCH, mails(3))

    found = results(answer, 202)
    assert [result["status"] for result in found] == [202] * 3
    assert (answer.json()["accepted"], answer.json()["refused"]) == (3, 0)
    stored = [Mail.objects.get(pk=result["mail"]) for result in found]
    assert [mail.subject for mail in stored] == ["News 0", "News 1", "News 2"]
    assert {mail.status for mail in stored} == {Status.QUEUED}
    assert zeus.get(found[1]["url"]).json()["subject"] == "News 1"
    assert [event["event"] for event in zeus.get(f"{found[2]['url']}/events/?expand=true").json()["events"]] == [
        "NEW", "ACCEPTED", "ENQUEUE",
    ]  # fmt: skip


def test_an_object_with_the_list_and_a_last_slash_do_as_well(zeus):
    results(zeus.post(BATCH, {"mails": mails(2)}), 202)
    results(zeus.post(f"{BATCH}/", mails(2)), 202)

    assert Mail.objects.count() == 4


def test_a_bad_email_is_kept_as_rejected_and_the_others_are_stored(zeus):
    given = mails(4)
    given[1] |= {"recipient": [HERA, "nobody"]}
    given[2] |= {"sender": HERA}

    found = results(zeus.post(BATCH, given), 207)

    assert [result["status"] for result in found] == [202, 400, 403, 202]
    assert [error["pointer"] for error in found[1]["errors"]] == ["/1/recipient/1"]
    assert found[1]["code"] == "invalid_mail"
    assert Mail.objects.get(pk=found[1]["mail"]).status == Status.REJECTED
    assert zeus.get(found[1]["url"]).json()["status"] == Status.REJECTED
    assert found[2]["code"] == "sender_not_allowed"
    assert "mail" not in found[2]
    assert Mail.objects.filter(status=Status.QUEUED).count() == 2


def test_pointers_of_an_object_lead_through_its_list(zeus):
    found = results(zeus.post(BATCH, {"mails": [*mails(1), HELLO | {"subjet": "x"}, 7]}), 207)

    assert [error["pointer"] for result in found[1:] for error in result["errors"]] == ["/mails/1/subjet", "/mails/2"]


@pytest.mark.parametrize("item", [7, "x", None, True, [], [HELLO], [[]]])
def test_an_item_that_is_no_email_is_refused_alone(zeus, item):
    found = results(zeus.post(BATCH, [item, *mails(1)]), 207)

    assert [result["status"] for result in found] == [400, 202]
    assert found[0]["errors"][0]["code"] == "not_an_object"
    assert Mail.objects.count() == 1


def test_a_batch_that_is_refused_whole_is_a_207_with_a_result_for_each(zeus):
    assert [result["status"] for result in results(zeus.post(BATCH, [7, 8]), 207)] == [400, 400]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ([], ""),
        ({}, "/mails"),
        ("x", ""),
        (7, ""),
        (None, ""),
        ({"mails": {}}, "/mails"),
        ({"mails": []}, "/mails"),
        ({"mails": [HELLO], "x": 1}, "/x"),
        (HELLO, "/sender"),
    ],
)
def test_another_body_is_a_400_and_nothing_is_stored(zeus, body, pointer):
    found = problem(send_raw(zeus, json.dumps(body).encode(), BATCH), 400, "invalid_batch")

    assert found["errors"][0]["pointer"] == pointer
    assert Mail.objects.count() == 0


def test_too_many_emails_are_a_413_and_nothing_is_stored(zeus):
    problem(zeus.post(BATCH, mails(1001)), 413, "too_many_mails")
    assert Mail.objects.count() == 0

    assert zeus.post(BATCH, mails(1000)).json()["accepted"] == 1000
    assert Mail.objects.count() == 1000


def test_a_body_that_is_too_large_is_a_413(zeus, settings):
    settings.MERCURY_MAX_SIZE = 10_000
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10_000 + 64 * 1024

    problem(zeus.post(BATCH, mails(10, content="x" * 2000)), 413, "too_large")

    assert Mail.objects.count() == 0


def test_an_email_may_be_as_large_as_a_body(zeus):
    assert results(zeus.post(BATCH, mails(2, content="x" * 3_000_000)), 202)


def test_hundreds_of_emails_cost_no_more_statements_than_two(zeus):
    results(zeus.post(BATCH, mails(1)), 202)  # which records that the key was used
    counts = []
    for number in (2, 300):
        with CaptureQueriesContext(connection) as queries:
            results(zeus.post(BATCH, mails(number, idempotency_key=None)), 202)
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_a_key_of_an_item_is_good_for_a_single_email_as_well_and_the_other_way_round(zeus):
    single = zeus.post(MAILS, HELLO, headers={"Idempotency-Key": "a"}).json()

    found = results(zeus.post(BATCH, [HELLO | {"idempotency_key": "a"}, HELLO | {"idempotency_key": "b"}]), 202)

    assert found[0] == {"status": 202, "mail": single["id"], "url": single["url"], "replayed": True}
    assert "replayed" not in found[1]
    again = zeus.post(MAILS, HELLO, headers={"Idempotency-Key": "b"})
    assert again["Idempotency-Replayed"] == "true"
    assert again["MailId"] == found[1]["mail"]


def test_a_repeated_batch_with_keys_stores_each_email_once(zeus):
    given = [mail | {"idempotency_key": f"k{index}"} for index, mail in enumerate(mails(150))]
    first = results(zeus.post(BATCH, given), 202)

    again = results(zeus.post(BATCH, [*given, HELLO | {"idempotency_key": "new"}]), 202)

    assert [result["mail"] for result in again[:150]] == [result["mail"] for result in first]
    assert all(result["replayed"] for result in again[:150])
    assert Mail.objects.count() == 151


def test_a_key_twice_in_one_batch_stores_the_first_and_compares_the_others(zeus):
    same = HELLO | {"idempotency_key": "a"}

    found = results(zeus.post(BATCH, [same, same, same | {"subject": "Other"}]), 207)

    assert [result["status"] for result in found] == [202, 202, 422]
    assert found[1]["mail"] == found[0]["mail"]
    assert found[1]["replayed"]
    assert found[2]["code"] == "idempotency_key_reused"
    assert Mail.objects.count() == 1


def test_a_key_for_the_request_makes_each_email_repeatable(zeus):
    given = [*mails(2), HELLO | {"idempotency_key": "own"}]
    first = results(zeus.post(BATCH, given, headers={"Idempotency-Key": "import 7"}), 202)

    again = results(zeus.post(BATCH, given, headers={"Idempotency-Key": "import 7"}), 202)

    assert [result["mail"] for result in again] == [result["mail"] for result in first]
    assert set(IdempotencyKey.objects.values_list("key", flat=True)) == {"import 7/0", "import 7/1", "own"}
    assert Mail.objects.count() == 3


@pytest.mark.parametrize("key", ["", " ", "é", "x" * 256, "x" * 252])
def test_a_bad_key_for_the_request_refuses_it_whole(zeus, key):
    found = problem(
        zeus.post(BATCH, mails(1), HTTP_IDEMPOTENCY_KEY=key.encode().decode("latin-1")), 400, "invalid_idempotency_key"
    )

    assert found["errors"][0]["header"] == "Idempotency-Key"
    assert Mail.objects.count() == 0


@pytest.mark.parametrize("key", ["", " ", 7, ["a"], {}, "é", "x" * 256])
def test_a_bad_key_of_an_item_refuses_it_alone(zeus, key):
    found = results(zeus.post(BATCH, [HELLO | {"idempotency_key": key}, *mails(1)]), 207)

    assert found[0]["code"] == "invalid_idempotency_key"
    assert found[0]["errors"][0]["pointer"] == "/0/idempotency_key"
    assert Mail.objects.count() == 1


def test_a_rate_counts_emails_all_or_none(zeus):
    zeus = caller("hermes", rate="5/h")

    first = zeus.post(BATCH, mails(3))
    found = problem(refused := zeus.post(BATCH, mails(3)), 429, "throttled")
    last = zeus.post(BATCH, mails(2))

    assert first["RateLimit"] == '"key";r=2;t=3600'
    assert refused["RateLimit"].startswith('"key";r=2;')
    assert 3590 <= int(refused["Retry-After"]) <= 3600
    assert "not processed" in found["detail"]
    assert last.status_code == 202
    assert last["RateLimit"].startswith('"key";r=0;')
    assert Mail.objects.count() == 5


def test_a_batch_that_never_fits_the_rate_is_a_413(zeus):
    zeus = caller("hermes", rate="5/h")

    problem(answer := zeus.post(BATCH, mails(6)), 413, "batch_exceeds_rate")

    assert "Retry-After" not in answer
    assert zeus.post(BATCH, mails(5)).status_code == 202


def test_a_batch_needs_the_scope(db):
    hermes = caller("hermes", scopes=["mails:read"])

    problem(hermes.post(BATCH, mails(1)), 403, "missing_scope")
    problem(hermes.get(BATCH), 405)


def test_an_email_that_the_database_refuses_is_left_out_alone(zeus, monkeypatch):
    real = writer.create

    def create(new):
        if any(mail.mail.subject == "News 1" for mail in new):
            raise DataError
        return real(new)

    monkeypatch.setattr(writer, "create", create)

    found = results(zeus.post(BATCH, mails(4)), 207)

    assert [result["status"] for result in found] == [202, 500, 202, 202]
    assert found[1]["code"] == "not_stored"
    assert Mail.objects.count() == 3


def test_one_file_of_many_emails_is_stored_once(zeus, monkeypatch):
    from mails.files import contents

    stored = []
    real = contents.store
    monkeypatch.setattr(contents, "store", lambda given: stored.extend(given) or real(given))
    crown = [{"filename": "crown.txt", "content_type": "text/plain", "content": "Z29sZA=="}]

    found = results(zeus.post(BATCH, mails(3, attachments=crown)), 202)

    assert len(stored) == 1
    assert [mail.files.count() for mail in Mail.objects.filter(pk=found[0]["mail"])] == [1]


def test_new_files_of_many_emails_are_stored_by_the_same_statements_as_one(zeus):
    def post(number, of):
        texts = [base64.b64encode(f"law {number}.{part}".encode()).decode() for part in range(of)]
        law = {"filename": "law.txt", "content_type": "text/plain"}
        batch = [mails(1, attachments=[law | {"content": text}])[0] for text in texts]
        with CaptureQueriesContext(connection) as queries:
            results(zeus.post(BATCH, batch), 202)
        return len([query for query in queries if "mails_filecontent" in query["sql"] or "unused" in query["sql"]])

    assert post(1, of=1) == post(2, of=5)
    assert FileContent.objects.count() == 6


def test_repeated_emails_whose_times_are_past_are_found_by_one_query(zeus, monkeypatch):
    soon = (database_clock.now() + dt.timedelta(hours=1)).isoformat()
    batch = [mail | {"idempotency_key": f"k{number}"} for number, mail in enumerate(mails(4, send_at=soon))]
    results(zeus.post(BATCH, batch[:3]), 202)
    later = database_clock.now_ns() + 2 * 3600 * 10**9
    monkeypatch.setattr(database_clock, "now_ns", lambda: later)

    with CaptureQueriesContext(connection) as queries:
        found = results(zeus.post(BATCH, [*batch, batch[0] | {"subject": "Other"}]), 207)

    assert [result["status"] for result in found] == [202, 202, 202, 400, 400]
    looks = [query for query in queries if '"mails_idempotencykey"."created_at" >' in query["sql"]]
    assert len(looks) == 1


def test_different_uploads_of_many_emails_are_read_by_one_query(zeus):
    key = ApiKey.objects.get()
    texts = [f"law {number}".encode() for number in range(4)]
    files = [
        uploads.receive(
            io.BytesIO(text).read, filename="law.txt", declared="", size=len(text), owner=Owner(api_key=key)
        )
        for text in texts
    ]
    batch = [mails(1, attachments=[{"file": str(file.pk)}])[0] for file in files]
    batch.append(mails(1, attachments=[{"file": "x"}, 7, {"file": str(uuid7())}])[0])

    with CaptureQueriesContext(connection) as queries:
        found = results(zeus.post(BATCH, batch), 207)

    assert [result["status"] for result in found] == [202, 202, 202, 202, 400]
    assert sum('FROM "mails_storedfile"' in query["sql"] for query in queries) == 1


def test_the_answer_names_twenty_errors_of_an_email_at_most(zeus):
    bad = {f"x{number}": 1 for number in range(20)} | {"sender": 7, "recipient": 7, "subject": 7}

    assert len(results(zeus.post(BATCH, [bad]), 207)[0]["errors"]) == batches.MAX_ERRORS


def test_people_can_browse_to_it(client, django_user_model):
    client.force_login(django_user_model.objects.create_user("zeus", password="x"))

    page = client.get(reverse("api-mail-batch"), headers={"Accept": "text/html"})

    assert page.status_code == 405
    assert "Create a batch of emails" in page.content.decode()
    assert ZEUS not in page.content.decode()
