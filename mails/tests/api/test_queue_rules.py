"""Queue rules over the API."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mails import queue_rules
from mails.models import QueueRule
from mails.tests.callers import HELLO, MAILS, caller, problem
from mails.tests.conditions.strategies import GIVEN, JSON
from mails.tests.routing.builders import a_queue_rule

pytestmark = pytest.mark.django_db
RULES = "/api/v1.0/dispatcher/queue-rules/"
NEWS = {"name": "news", "queue": "html", "conditions": {"sender_domain": ["olimpus.com"]}}


@pytest.fixture
def operator():
    return caller("operator", senders=["*"])


def test_a_rule_is_added_read_changed_and_removed(operator):
    answer = operator.post(RULES, NEWS, format="json")

    assert answer.status_code == 201
    body = answer.json()
    assert answer["Location"] == body["url"] == f"http://testserver{RULES}{body['id']}"
    assert body["sentence"] == "Email from olimpus.com goes to the queue html."
    assert (body["position"], body["enabled"], body["warnings"]) == (100, True, [])
    assert body["changed_by"] == "key:operator"
    mail = operator.post(MAILS, HELLO).json()
    assert operator.get(mail["url"]).json()["queue"] == "html"
    shown = operator.get(body["url"]).json()
    assert shown == {name: value for name, value in body.items() if name != "warnings"}
    assert operator.get(f"{RULES}?expand=true").json()["queue_rules"] == [shown]

    changed = operator.put(body["url"], {"queue": "large", "position": 3}, format="json").json()
    assert (changed["queue"], changed["position"], changed["conditions"]) == ("large", 3, NEWS["conditions"])
    assert operator.put(body["url"], shown, format="json").status_code == 200

    assert operator.delete(body["url"]).status_code == 204
    assert operator.get(body["url"]).status_code == 404
    assert operator.put(body["url"], {}, format="json").status_code == 404


def test_what_is_probably_wrong_is_answered_with_an_example(operator):
    a_queue_rule("later", "large", position=200, sender_domain=["olimpus.com"])
    a_queue_rule("other", "large", position=300, api_key=["nobody"])

    warnings = operator.post(RULES, NEWS, format="json").json()["warnings"]

    [warning] = warnings
    assert warning.startswith("Rule later decides nothing: every email that it matches meets news first, for example")


@pytest.mark.parametrize(
    ("changes", "pointer", "words"),
    [
        ({"name": ""}, "/name", "1 to 64 characters"),
        ({"name": "first"}, "/name", "exists already"),
        ({"queue": "moon"}, "/queue", "text, html, attachment, large, bulk"),
        ({"queue": ["text"]}, "/queue", "It must be one of"),
        ({"position": -1}, "/position", "from 0"),
        ({"position": True}, "/position", "whole number"),
        ({"enabled": "yes"}, "/enabled", "true or false"),
        ({"conditions": {"queue": ["bulk"]}}, "/conditions/queue", "Remove bulk"),
        ({"conditions": {"size": {"from": 9, "to": 1}}}, "/conditions/size", "No email can match"),
        ({"conditions": {"tag": []}}, "/conditions/tag", ""),
        ({"conditions": []}, "/conditions", "Conditions are an object"),
        ({"moon": 1}, "/moon", "There is no field 'moon'"),
    ],
)
def test_what_is_wrong_is_named(operator, changes, pointer, words):
    a_queue_rule("first", tag=["first"])

    body = problem(operator.post(RULES, NEWS | changes, format="json"), 400)

    assert [error["pointer"] for error in body["errors"]] == [pointer]
    assert words in body["errors"][0]["detail"]
    assert QueueRule.objects.count() == 1


def test_a_rule_needs_name_and_queue(operator):
    body = problem(operator.post(RULES, {}, format="json"), 400)

    assert {(error["pointer"], error["code"]) for error in body["errors"]} == {
        ("/name", "required"),
        ("/queue", "required"),
    }


def test_there_is_a_most_of_rules(operator, monkeypatch):
    monkeypatch.setattr(queue_rules, "MAX_RULES", 1)
    a_queue_rule("first")

    body = problem(operator.post(RULES, NEWS, format="json"), 400)

    assert "There are 1 rules already" in body["errors"][0]["detail"]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.fixed_dictionaries(
        {"name": st.just("news") | JSON, "queue": st.sampled_from(["bulk", "text"]) | JSON},
        optional={"conditions": GIVEN | JSON, "enabled": JSON, "position": st.integers() | JSON, "moon": JSON},
    )
)
def test_any_rule_is_stored_or_refused(operator, fields):
    QueueRule.objects.all().delete()

    answer = operator.post(RULES, fields, format="json")

    assert answer.status_code in {201, 400}, answer.content
    assert QueueRule.objects.count() == (answer.status_code == 201)
