"""Routing rules for operators: the list, the form with its test, and the preview."""

import json

import pytest

from mails.admin.routing_forms import read_pasted
from mails.models import Mail, RoutingRule
from mails.tests.builders import HELLO, a_mail
from mails.tests.routing.builders import a_rule

pytestmark = pytest.mark.django_db
PAGE = "/admin/routing/"
GREECE = {"name": "greece", "recipient_domain": "hera.gr, *.hera.gr", "account": ["hades"], "enabled": "on"}


@pytest.fixture(autouse=True)
def accounts(olympus, hades):
    """The two accounts."""


def names():
    return list(RoutingRule.objects.values_list("name", flat=True))


def text_of(answer):
    return " ".join(answer.content.decode().split())


def test_without_rules_the_page_says_what_that_means(operator):
    page = text_of(operator.get(PAGE))

    assert "There are no rules: any account may take any email." in page
    assert "Add a rule" in page


def test_a_rule_is_added_and_shown_in_a_sentence(operator):
    answer = operator.post(
        f"{PAGE}add/",
        {**GREECE, "priority-hades": "1", "weight-hades": "3", "size_from": "10", "queue": ["html"]},
        follow=True,
    )

    page = text_of(answer)
    assert "The rule greece was saved." in page
    assert "Email to hera.gr or *.hera.gr, in the queue html, of at least 10 B, goes through hades only." in page
    [rule] = RoutingRule.objects.all()
    assert rule.accounts == [{"account": "hades", "priority": 1, "weight": 3}]
    assert (rule.changed_by, rule.who) == ("user:hermes", "hermes")


def test_a_rule_is_changed_and_keeps_what_was_not(operator):
    rule = a_rule("greece", {"account": "hades", "weight": 3}, recipient_domain=["hera.gr"], recipients={"to": 9})

    page = operator.get(f"{PAGE}{rule.pk}/").content.decode()
    assert 'value="hera.gr"' in page
    assert 'name="account" value="hades" checked' in page
    operator.post(f"{PAGE}{rule.pk}/", {**GREECE, "account": ["hades", "olympus"], "recipients_to": "9"})

    rule.refresh_from_db()
    assert [account["account"] for account in rule.accounts] == ["hades", "olympus"]
    assert rule.conditions == {"recipient_domain": ["hera.gr", "*.hera.gr"], "recipients": {"to": 9}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "Greece"}, "lower case letters"),
        ({"account": []}, "Name at least one account"),
        ({"recipient_domain": "hera@hera.gr"}, "is an address. Write its domain only: hera.gr."),
        ({"size_from": "9", "size_to": "8"}, "No email can match: from 9 is more than to 8."),
        ({"weight-hades": "much"}, "a whole number from 1 to 10000"),
        ({"queue": ["slow"]}, "slow"),
        ({"position": "0"}, "greater than or equal to 1"),
    ],
)
def test_an_error_is_shown_and_what_was_typed_is_kept(operator, change, words):
    answer = operator.post(f"{PAGE}add/", {**GREECE, **change})

    assert answer.status_code == 400
    assert words in text_of(answer)
    assert names() == []


def test_a_rule_is_tested_before_it_is_saved(operator):
    a_mail(recipient="hera@hera.gr", subject="To Greece")
    a_mail()

    page = text_of(operator.post(f"{PAGE}add/", {**GREECE, "test": "1"}))

    assert "Test: nothing is saved yet" in page
    assert "Of the last 2 emails, it would decide for 1." in page
    assert "To Greece</a> to hera@hera.gr: no rule → greece" in page
    assert names() == []


def test_what_is_odd_is_said_when_it_is_saved_and_in_the_list(operator):
    a_rule("all", "olympus")

    saved = text_of(operator.post(f"{PAGE}add/", GREECE, follow=True))

    assert saved.count("It never decides: every email it matches, such as an email from zeus@olimpus.com") == 2


def test_rules_are_moved_disabled_and_removed(operator):
    first, second = a_rule("alpha", "olympus", tag=["a"]), a_rule("beta", "olympus", tag=["b"])

    operator.post(f"{PAGE}{second.pk}/up/")
    assert names() == ["beta", "alpha"]
    operator.post(f"{PAGE}{second.pk}/down/")
    assert names() == ["alpha", "beta"]
    assert "The rule alpha is disabled." in text_of(operator.post(f"{PAGE}{first.pk}/disable/", follow=True))
    assert operator.post(f"{PAGE}{first.pk}/explode/").status_code == 404
    assert operator.get(f"{PAGE}{first.pk}/up/").status_code == 405
    a_mail(tags=["b"])
    assert "1 emails wait under it" in text_of(operator.get(f"{PAGE}{second.pk}/remove/"))
    operator.post(f"{PAGE}{second.pk}/remove/")
    assert names() == ["alpha"]
    assert operator.get(f"{PAGE}{second.pk}/").status_code == 404


def test_an_email_is_previewed(operator):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    before = Mail.objects.count()

    page = text_of(operator.post(PAGE, {"sender": "zeus@olimpus.com", "recipient": "hera@hera.gr"}))

    assert "This email would go to hades by the rule &#x27;greece&#x27;." in page
    assert "rule &#x27;greece&#x27; allows only hades" in page
    assert Mail.objects.count() == before


def test_a_stored_email_is_previewed_by_its_id(operator):
    mail = a_mail()

    assert "No rule matches: any account may take it." in text_of(operator.post(PAGE, {"mail": str(mail.pk)}))


MESSAGE = "From: Zeus <zeus@olimpus.com>\r\nTo: hera@hera.gr\r\nCc: iris@olimpus.com\r\nSubject: Hi\r\n\r\nHello\r\n"


@pytest.mark.parametrize("pasted", [json.dumps({**HELLO, "recipient": "hera@hera.gr"}), MESSAGE])
def test_an_email_is_pasted(operator, pasted):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])

    assert "This email would go to hades" in text_of(operator.post(PAGE, {"pasted": pasted}))


def test_the_source_of_a_message_is_read():
    assert read_pasted(MESSAGE) == {
        "sender": "Zeus <zeus@olimpus.com>",
        "to": "hera@hera.gr",
        "cc": "iris@olimpus.com",
        "subject": "Hi",
        "content": "Hello\n",
    }


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ({}, "Write From and To, paste an email, or give the id of one."),
        ({"pasted": "{nonsense"}, "This begins like JSON, and is none."),
        ({"pasted": "hello"}, "It needs the headers From and To"),
        ({"pasted": "{}"}, "This email would be refused"),
        ({"mail": "nonsense"}, "valid UUID"),
        ({"mail": "00000000-0000-7000-8000-000000000000"}, "There is no such email"),
        ({"sender": "zeus@olimpus.com", "recipient": "nobody"}, "This email would be refused"),
    ],
)
def test_what_cannot_be_previewed_is_explained(operator, typed, words):
    answer = operator.post(PAGE, typed)

    assert answer.status_code == 400
    assert words in text_of(answer)
