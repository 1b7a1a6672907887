"""Rules that pick the queue of an email."""

import pytest

from mails import queue_rules
from mails.conditions.conditions import MailFacts
from mails.conditions.parsing import ConditionsInvalid
from mails.models import Event, Mail, QueueRule
from mails.states import EventName
from mails.tests.builders import HELLO, submit
from mails.tests.commandline import run
from mails.tests.routing.builders import a_queue_rule
from mercury.lib.audit.models import AuditEntry

pytestmark = pytest.mark.django_db


def test_the_first_rule_that_an_email_meets_decides():
    a_queue_rule("later", "large", position=20, tag=["welcome"])
    a_queue_rule("first", "attachment", position=10, tag=["welcome"])
    a_queue_rule("off", "html", position=1, enabled=False)

    assert Mail.objects.get(pk=submit({**HELLO, "tags": ["welcome"]}).mail.pk).queue == "attachment"
    assert submit(HELLO).mail.queue == "text"


def test_the_event_names_the_rule():
    a_queue_rule("news", "bulk", sender_domain=["olimpus.com"])

    mail = submit(HELLO).mail

    assert '"rule": "news"' in str(Event.objects.get(mail_id=mail.pk, event=EventName.ENQUEUE).blob).replace("'", '"')


def test_bulk_that_the_client_asks_for_stays():
    a_queue_rule("all", "text")

    assert submit({**HELLO, "queue": "bulk"}).mail.queue == "bulk"


@pytest.mark.parametrize(
    ("conditions", "facts", "meets"),
    [
        ({"queue": ["html"]}, {"queue": "html"}, True),
        ({"queue": ["html"]}, {"queue": "text"}, False),
        ({"recipients": {"from": 20}}, {"recipients": 20}, True),
        ({"recipients": {"from": 20}}, {"recipients": 19}, False),
        ({"size": {"from": 100_000}}, {"size": 2000}, False),
        ({"api_key": ["shop"]}, {"api_key": "shop"}, True),
        ({"api_key": ["shop"]}, {"api_key": ""}, False),
        ({}, {}, True),
        ({}, {"queue": "bulk"}, False),
    ],
)
def test_conditions_are_met_or_not(conditions, facts, meets):
    rule = queue_rules.build(QueueRule(name="news", queue="bulk", conditions=conditions))

    found = queue_rules.find([rule], MailFacts(**{"sender_domain": "olimpus.com", "queue": "text"} | facts))

    assert (found == rule) is meets


def test_a_rule_that_no_email_can_meet_is_refused():
    with pytest.raises(ConditionsInvalid, match="Remove bulk from the condition"):
        queue_rules.check({"queue": ["bulk"]})
    with pytest.raises(ConditionsInvalid, match="No email can match"):
        queue_rules.check({"size": {"from": 10, "to": 5}})


def test_a_rule_that_decides_nothing_is_warned_of_with_an_example():
    a_queue_rule("news", "bulk", position=1, sender_domain=["olimpus.com"])
    a_queue_rule("big", "large", position=2, sender_domain=["olimpus.com"], recipients={"from": 100}, api_key=["shop"])

    ran = run("queues", "rules", "--json")

    assert [row["name"] for row in ran.lines] == ["news", "big"]
    [covered, key] = queue_rules.list_warnings(QueueRule.objects.all())
    assert covered.startswith(
        "Rule big decides nothing: every email that it matches meets news first, for example an email from"
    )
    assert "100 recipients" in covered
    assert key == "Rule big names the API key 'shop', which does not exist. Correct the name, or create the key."
    assert "Rule big decides nothing" in run("queues", "rules").out


def test_a_rule_of_another_version_matches_nothing():
    row = QueueRule(name="news", queue="bulk", conditions={"moon": ["full"]})

    assert queue_rules.build(row).conditions is None
    assert queue_rules.find([queue_rules.build(row)], MailFacts(sender_domain="olimpus.com")) is None
    assert "cannot read" in queue_rules.list_warnings([row])[0]


def test_without_rules_an_email_costs_no_query_for_them(django_assert_num_queries):
    queue_rules.read()

    with django_assert_num_queries(0):
        assert queue_rules.read() == ()


def test_deleted_rules_decide_nothing_more():
    rule = a_queue_rule("all", "html")
    assert submit(HELLO).mail.queue == "html"

    queue_rules.delete([rule], by="user:hermes")

    assert submit(HELLO).mail.queue == "text"


def test_a_command_adds_disables_enables_and_removes_a_rule():
    added = run("queues", "add-rule", "news", "bulk", "--sender-domain", "olimpus.com", "--recipients-from", "20")
    rule = QueueRule.objects.get()

    assert added.out.startswith(
        "Added news: Email from olimpus.com, with at least 20 recipients, goes to the queue bulk."
    )
    assert (rule.position, rule.conditions) == (100, {"sender_domain": ["olimpus.com"], "recipients": {"from": 20}})
    assert run("queues", "disable-rule", "news").out.startswith("Now disabled: news.")
    assert not queue_rules.read()
    assert run("queues", "disable-rule", "news").out.startswith("news is already disabled.")
    run("queues", "enable-rule", "news")
    assert [rule.name for rule in queue_rules.read()] == ["news"]
    run("queues", "remove-rule", "news")
    assert not QueueRule.objects.exists()
    assert list(AuditEntry.objects.order_by("id").values_list("act", "by")) == [
        ("register", "command line"),
        ("change", "command line"),
        ("change", "command line"),
        ("delete", "command line"),
    ]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["add-rule", "news", "bulk"], "A rule 'news' exists already. Choose another name."),
        (["add-rule", "more", "bulk", "--queue", "bulk"], "Remove bulk from the condition"),
        (["add-rule", "more", "bulk", "--size-from", "9", "--size-to", "1"], "conditions.size: No email can match"),
        (["remove-rule", "more"], "There is no queue rule 'more'. Known: news."),
    ],
)
def test_a_command_refuses_a_rule_that_cannot_be(words, problem):
    a_queue_rule()

    ran = run("queues", *words)

    assert ran.code == 2
    assert problem in ran.error
    assert QueueRule.objects.count() == 1
