"""The suppression list over the API: who sees which entries, CSV in and out, and answers to what is wrong."""

import datetime as dt
import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mails.access.api_keys import Scope
from mails.models import Suppression
from mails.states import SuppressionReason
from mails.suppression import entries
from mails.suppression.rules import NewEntry
from mails.tests.callers import HELLO, HERA, MAILS, Caller, caller, problem, send_raw
from mails.tests.people import browser_of, hermes
from mercury.lib.audit.models import AuditEntry

pytestmark = pytest.mark.django_db
LIST = "/api/v1.0/suppressions/"
IMPORT = f"{LIST}import"
IRIS = "iris@olimpus.com"


@pytest.fixture
def zeus() -> Caller:
    """Return a client that sends as zeus@olimpus.com."""
    return caller()


@pytest.fixture
def root() -> Caller:
    """Return a client that sends as anybody."""
    return caller("root", senders=("*",))


def add(client: Caller, **fields: Any) -> Any:
    return client.post(LIST, {"address": HERA, "scope": "olimpus.com"} | fields, format="json")


def test_an_entry_is_added_read_and_removed(zeus: Caller) -> None:
    answer = add(
        zeus, address="Hera@Olimpus.com", reason="complaint", detail="spam", expires="2090-01-31T08:00:00+01:00"
    )
    assert answer.status_code == 201
    shown = answer.json()
    assert answer["Location"] == shown["url"]
    assert zeus.get(shown["url"]).json() == shown
    assert shown == {
        "id": shown["id"],
        "url": f"http://testserver{LIST}{shown['id']}",
        "address": HERA,
        "scope": "olimpus.com",
        "reason": "complaint",
        "detail": "spam",
        "source": "key:zeus",
        "since": shown["since"],
        "expires": "2090-01-31T07:00:00.000000Z",
        "mail": None,
    }
    assert zeus.get(f"{LIST}?expand=true").json()["suppressions"] == [shown]
    assert zeus.delete(shown["url"]).status_code == 204
    problem(zeus.get(shown["url"]), 404)
    assert AuditEntry.objects.filter(by="key:zeus", act="delete", name=HERA).exists()


def test_adding_again_answers_200(zeus: Caller) -> None:
    assert add(zeus).status_code == 201
    assert add(zeus).status_code == 200
    assert add(zeus, reason="complaint").json()["reason"] == "complaint"
    assert Suppression.objects.count() == 1


def test_an_email_to_a_suppressed_address_gets_a_202_and_says_why(zeus: Caller) -> None:
    add(zeus)
    answer = zeus.post(MAILS, HELLO, format="json")
    assert answer.status_code == 202
    mail = zeus.get(answer.json()["url"]).json()
    assert (mail["status"], mail["reason_code"]) == ("discarded", "suppressed")
    assert [recipient["state"] for recipient in mail["recipients_detail"]] == ["suppressed"]
    assert "suppression list" in mail["summary"]
    events = zeus.get(f"{mail['events']}?expand=true").json()["events"]
    assert json.loads(next(event["blob"] for event in events if event["event"] == "SUPPRESSED"))["address"] == HERA


def test_a_key_sees_the_entries_of_its_sender_domains_and_no_others(zeus: Caller, root: Caller) -> None:
    entries.put(
        [NewEntry(HERA), NewEntry(HERA, scope="hades.com"), NewEntry(IRIS, scope="olimpus.com")], source="user:hermes"
    )
    seen = zeus.get(f"{LIST}?expand=true").json()["suppressions"]
    assert [entry["address"] for entry in seen] == [IRIS]
    assert len(root.get(LIST).json()["suppressions"]) == 3
    others = Suppression.objects.exclude(scope="olimpus.com")
    for entry in others:
        problem(zeus.get(f"{LIST}{entry.pk}"), 404)
        problem(zeus.delete(f"{LIST}{entry.pk}"), 404)
    assert zeus.get(f"{LIST}export").getvalue().decode().count("\r\n") == 2
    problem(add(zeus, scope=""), 403, "scope_not_allowed")
    problem(add(zeus, scope="hades.com"), 403, "scope_not_allowed")
    assert add(root, scope="").status_code == 200
    assert zeus.get(f"{LIST}nonsense").status_code == 404


def test_any_key_may_ask_of_one_address(zeus: Caller) -> None:
    entries.put([NewEntry(HERA, reason="complaint")], source="user:hermes")
    answer = zeus.get(f"{LIST}check?address=HERA@olimpus.com&sender=zeus@olimpus.com").json()
    assert (answer["suppressed"], answer["scope"], answer["reason"]) == (True, "", "complaint")
    assert zeus.get(f"{LIST}check?address={IRIS}").json()["suppressed"] is False
    problem(zeus.get(f"{LIST}check?address={HERA}&sender=a@hades.com"), 403)
    problem(zeus.get(f"{LIST}check?address=*"), 400, "invalid_address")
    problem(zeus.get(f"{LIST}check"), 400, "invalid_address")


def test_the_scopes_of_a_key_are_needed() -> None:
    reader, writer = caller("reader", scopes=[Scope.SUPPRESSIONS_READ]), caller("w", scopes=[Scope.SUPPRESSIONS_WRITE])
    assert reader.get(LIST).status_code == 200
    problem(add(reader), 403)
    problem(send_raw(reader, b"address\n", IMPORT, "text/csv"), 403)
    problem(writer.get(LIST), 403)
    assert add(writer).status_code == 201


def test_a_person_with_the_permissions_sees_all() -> None:
    entries.put([NewEntry(HERA), NewEntry(HERA, scope="hades.com")], source="user:hermes")
    assert len(browser_of(hermes()).get(LIST).json()["suppressions"]) == 2


@pytest.mark.parametrize(
    ("fields", "pointer", "words"),
    [
        ({"address": "*"}, "/address", "everybody"),
        ({"address": "@olimpus.com"}, "/address", "whole domain"),
        ({"address": "hera"}, "/address", "@"),
        ({"address": 1}, "/address", "text"),
        ({"scope": "*"}, "/scope", "empty for all"),
        ({"scope": "a@olimpus.com"}, "/scope", "domain"),
        ({"reason": "bored"}, "/reason", "hard-bounce"),
        ({"detail": "x" * 501}, "/detail", "500"),
        ({"expires": "soon"}, "/expires", "2026-01-31"),
        ({"expires": "2001-01-01"}, "/expires", "past"),
        ({"mail": "1"}, "/mail", "id"),
        ({"adress": HERA}, "/adress", "address"),
    ],
)
def test_what_is_wrong_is_named(zeus: Caller, fields: dict[str, Any], pointer: str, words: str) -> None:
    found = problem(add(zeus, **fields), 400, "invalid_suppression")
    (error,) = [error for error in found["errors"] if error["pointer"] == pointer]
    assert words in error["detail"]
    assert not Suppression.objects.exists()


def test_a_file_is_imported_and_exported(root: Caller) -> None:
    content = f"address,reason\n{HERA},complaint\n{IRIS},\n".encode()
    assert send_raw(root, content, f"{IMPORT}?dry_run=true", "text/csv").json()["added"] == 2
    assert not Suppression.objects.exists()
    assert send_raw(root, content, IMPORT, "text/csv; charset=utf-8").json() == {
        "rows": 2,
        "added": 2,
        "updated": 0,
        "skipped": 0,
        "invalid": 0,
        "errors": [],
    }
    answer = root.get(f"{LIST}export?filter=reason,eq,complaint", HTTP_ACCEPT="text/csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    exported = answer.getvalue()
    assert exported.decode().splitlines()[1].startswith(f"{HERA},,complaint,,key:root,")
    form = {"file": SimpleUploadedFile("list.csv", exported, "text/csv")}
    assert root.post(IMPORT, form, format="multipart").json()["skipped"] == 1


def test_a_file_with_a_bad_line_is_refused_as_a_whole(root: Caller, zeus: Caller) -> None:
    content = f"address\n{HERA}\n*\n".encode()
    found = problem(send_raw(root, content, IMPORT, "text/csv"), 400, "invalid_csv")
    assert "line 3, address" in found["errors"][0]["detail"]
    assert found["report"]["invalid"] == 1
    assert not Suppression.objects.exists()
    problem(send_raw(zeus, f"address\n{HERA}\n".encode(), IMPORT, "text/csv"), 400, "invalid_csv")
    problem(send_raw(root, b"", IMPORT, "text/csv"), 400, "empty_file")
    problem(send_raw(root, b"{}", IMPORT), 415)
    problem(root.post(IMPORT, {"other": "x"}, format="multipart"), 400, "invalid_form")
    problem(send_raw(root, content, f"{IMPORT}?dry_run=perhaps", "text/csv"), 400, "invalid_dry_run")


def test_a_file_may_be_larger_than_other_requests(root: Caller, settings: Any) -> None:
    rows = "".join(f"iris{number}@olimpus.com\n" for number in range(5000))
    content = f"address\n{rows}".encode()
    assert len(content) > 64 * 1024
    assert send_raw(root, content, IMPORT, "text/csv").json()["added"] == 5000
    settings.MERCURY_MAX_FILE_SIZE = 1000
    problem(send_raw(root, content, IMPORT, "text/csv"), 413)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
_FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "address": _JSON | st.sampled_from([HERA, "*", "ära@olimpus.com"]),
        "scope": _JSON | st.sampled_from(["", "olimpus.com"]),
        "reason": _JSON | st.sampled_from(SuppressionReason.values),
        "detail": _JSON,
        "expires": _JSON | st.datetimes(timezones=st.just(dt.UTC)).map(str),
        "mail": _JSON | st.uuids().map(str),
    },
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(_FIELDS)
def test_any_fields_are_stored_or_refused(root: Caller, fields: dict[str, Any]) -> None:
    answer = send_raw(root, json.dumps(fields).encode(), LIST)
    assert answer.status_code in (200, 201, 400), answer.content
    if answer.status_code == 400:
        assert answer.json()["errors"]
