"""Routing rules and previews over the API."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mails.models import Mail, RoutingRule
from mails.tests.builders import a_mail
from mails.tests.callers import HELLO, caller, problem
from mails.tests.conditions.strategies import GIVEN, JSON
from mails.tests.routing.builders import a_rule

pytestmark = pytest.mark.django_db
RULES = "/api/v1.0/dispatcher/rules/"
PREVIEW = "/api/v1.0/dispatcher/preview"
GREECE = {"name": "greece", "conditions": {"recipient_domain": ["hera.gr"]}, "accounts": ["hades"], "note": "GDPR"}


@pytest.fixture
def operator(olympus, hades):
    return caller("operator", senders=["*"])


def test_a_rule_is_added_read_changed_and_removed(operator):
    answer = operator.post(RULES, GREECE, format="json")

    assert answer.status_code == 201
    body = answer.json()
    assert answer["Location"] == body["url"] == f"http://testserver{RULES}{body['id']}"
    assert body["sentence"] == "Email to hera.gr goes through hades only."
    assert (body["position"], body["enabled"], body["warnings"]) == (1, True, [])
    assert body["accounts"] == [{"account": "hades"}]
    assert body["changed_by"] == "key:operator"
    shown = operator.get(body["url"]).json()
    assert shown == {name: value for name, value in body.items() if name != "warnings"}
    assert operator.get(f"{RULES}?expand=true").json()["rules"] == [shown]

    changed = operator.put(body["url"], {"accounts": [{"account": "olympus", "weight": 2}]}, format="json").json()
    assert changed["sentence"] == "Email to hera.gr goes through olympus only."
    assert changed["conditions"] == GREECE["conditions"]
    assert operator.put(body["url"], shown, format="json").status_code == 200

    assert operator.delete(body["url"]).status_code == 204
    assert operator.get(body["url"]).status_code == 404


def test_a_rule_is_moved_by_its_position(operator):
    for name in ("alpha", "beta"):
        a_rule(name, "olympus", tag=[name])
    third = operator.post(RULES, GREECE, format="json").json()

    assert operator.put(third["url"], {"position": 1}, format="json").json()["position"] == 1

    assert list(RoutingRule.objects.values_list("name", flat=True)) == ["greece", "alpha", "beta"]
    urls = operator.get(RULES).json()["rules"]
    assert urls[0] == third["url"]


def test_what_is_odd_is_answered_with_an_example(operator):
    a_rule("all", "olympus")

    answer = operator.post(RULES, GREECE, format="json")

    assert answer.json()["warnings"] == [
        "It never decides: every email it matches, such as an email from zeus@olimpus.com to hera@hera.gr, matches 'all' first."
    ]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"name": "Greece"}, "/name"),
        ({"accounts": []}, "/accounts"),
        ({"accounts": ["zeus"]}, "/accounts/0"),
        ({"conditions": {"size": {"from": 3, "to": 2}}}, "/conditions/size"),
        ({"conditions": {"colour": ["red"]}}, "/conditions/colour"),
        ({"position": 0}, "/position"),
        ({"position": True}, "/position"),
        ({"colour": "red"}, "/colour"),
    ],
)
def test_a_wrong_rule_is_a_400_that_names_its_place(operator, change, pointer):
    found = problem(operator.post(RULES, {**GREECE, **change}, format="json"), 400, "invalid_rule")

    assert [error["pointer"] for error in found["errors"]] == [pointer]
    assert RoutingRule.objects.count() == 0


def test_a_reader_may_look_and_not_change(olympus, hades):
    rule = a_rule("greece", "hades")
    reader = caller("reader", scopes=["providers:read"])

    assert reader.get(RULES).status_code == 200
    assert reader.post(PREVIEW, HELLO, format="json").status_code == 200
    problem(reader.post(RULES, GREECE, format="json"), 403)
    problem(reader.delete(f"{RULES}{rule.pk}"), 403)
    problem(caller("shop", scopes=["mails:send"]).post(PREVIEW, HELLO, format="json"), 403)


def test_an_email_is_previewed_and_not_stored(operator):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])

    answer = operator.post(PREVIEW, {**HELLO, "recipient": "hera@hera.gr"}, format="json")

    assert answer.status_code == 200
    body = answer.json()
    assert body["sentence"] == "This email would go to hades by the rule 'greece'."
    assert (body["rule"], body["queue"], body["via"], body["paused"]) == ("greece", "text", None, "")
    assert body["rules"] == [
        {
            "rule": "greece",
            "sentence": "Email to hera.gr goes through hades only.",
            "decides": True,
            "why_not": "",
        }
    ]
    assert [(account["account"], account["share"], account["note"]) for account in body["accounts"]] == [
        ("hades", 1.0, ""),
        ("olympus", 0.0, "rule 'greece' allows only hades"),
    ]
    assert Mail.objects.count() == 0


def test_a_stored_email_is_previewed_by_its_id(operator):
    from mails.intake.client import Client
    from mails.states import Source

    own = a_mail(Client(source=Source.API, api_key=operator.key))

    assert operator.post(PREVIEW, {"mail": str(own.pk)}, format="json").json()["rule"] is None
    for other in (str(a_mail().pk), "nonsense", 7, None):
        found = problem(operator.post(PREVIEW, {"mail": other}, format="json"), 400, "invalid_preview")
        assert [error["pointer"] for error in found["errors"]] == ["/mail"]
    found = problem(operator.post(PREVIEW, {"mail": str(own.pk), **HELLO}, format="json"), 400)
    assert "not both" in found["message"]


def test_the_key_that_would_submit_it_counts(operator):
    a_rule("shop", "hades", api_key=["shop"])
    caller("shop", senders=["*"])
    caller("mute", senders=[])

    answer = operator.post(PREVIEW, {**HELLO, "api_key": "shop"}, format="json").json()

    assert answer["rule"] == "shop"
    assert operator.post(PREVIEW, HELLO, format="json").json()["rule"] is None
    mute = problem(operator.post(PREVIEW, {**HELLO, "api_key": "mute"}, format="json"), 400, "invalid_preview")
    assert "Not allowed to send as" in mute["detail"]
    problem(operator.post(PREVIEW, {**HELLO, "api_key": "nobody"}, format="json"), 400)


def test_a_rule_is_tried_before_it_is_stored(operator):
    tried = {**HELLO, "rule": {"name": "everything", "accounts": ["hades"]}}

    assert operator.post(PREVIEW, tried, format="json").json()["rule"] == "everything"
    assert RoutingRule.objects.count() == 0
    wrong = {**HELLO, "rule": {"name": "everything", "accounts": ["zeus"]}}
    found = problem(operator.post(PREVIEW, wrong, format="json"), 400)
    assert [error["pointer"] for error in found["errors"]] == ["/rule/accounts/0"]


def test_an_invalid_email_is_a_400_that_names_the_field(operator):
    found = problem(operator.post(PREVIEW, {**HELLO, "recipient": "nobody", "colour": 1}, format="json"), 400)

    assert {error["pointer"] for error in found["errors"]} == {"/recipient", "/colour"}


@given(
    body=st.fixed_dictionaries(
        {"name": JSON | st.just("eu-only"), "accounts": JSON | st.just(["hades"]), "conditions": GIVEN},
        optional={"enabled": JSON, "note": JSON, "position": JSON, "id": JSON},
    )
    | JSON
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_rule_of_any_json_is_stored_or_refused(operator, body):
    answer = operator.post(RULES, body, format="json")

    assert answer.status_code in (201, 400), answer.content
    RoutingRule.objects.all().delete()


@given(body=st.fixed_dictionaries({}, optional={"mail": JSON, "api_key": JSON, "rule": JSON, "tags": JSON}))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_preview_of_any_json_is_answered_or_refused(operator, body):
    assert operator.post(PREVIEW, {**HELLO, **body}, format="json").status_code in (200, 400)
