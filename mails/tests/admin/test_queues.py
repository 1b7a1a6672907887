"""Settings of queues and queue rules in the admin."""

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from mails import queue_rules, queue_settings
from mails.models import QueueRule, QueueSettings

pytestmark = pytest.mark.django_db

SETTINGS = "/admin/mails/queuesettings/"
RULES = "/admin/mails/queuerule/"
NEWS = {"position": 10, "name": "news", "queue": "bulk", "enabled": "on", "conditions": '{"tag": ["news"]}'}


@pytest.fixture
def hermes():
    """A signed-in superuser."""
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("hermes", password="herald of the gods"))
    return client


def test_a_share_and_a_rate_are_set_shown_and_removed(hermes):
    hermes.post(f"{SETTINGS}add/", {"queue": "bulk", "share": "20", "rate": "600/m"})

    bulk = queue_settings.read()["bulk"]
    assert (bulk.share, bulk.rate, bulk.changed_by) == (20, 10.0, "hermes")
    assert "20 %" in (page := hermes.get(SETTINGS).text)
    assert "10 emails/s" in page
    assert 'value="10/s"' in hermes.get(f"{SETTINGS}bulk/change/").text

    hermes.post(f"{SETTINGS}bulk/change/", {"share": "", "rate": ""})
    assert (queue_settings.read()["bulk"].share, queue_settings.read()["bulk"].rate) == (50, None)
    hermes.post(f"{SETTINGS}bulk/delete/", {"post": "yes"})
    assert not QueueSettings.objects.exists()


@pytest.mark.parametrize(
    ("typed", "error"),
    [
        ({"share": "0"}, "pause it: manage.py pause --queue bulk"),
        ({"share": "101"}, "100 is all slots of a worker"),
        ({"rate": "fast"}, "A rate is a number and a unit, such as 14/s"),
    ],
)
def test_a_setting_out_of_range_is_refused_with_the_remedy(hermes, typed, error):
    page = hermes.post(f"{SETTINGS}add/", {"queue": "bulk", "share": "", "rate": ""} | typed).text

    assert error in page
    assert not QueueSettings.objects.exists()


def test_a_rule_is_added_and_applies(hermes):
    hermes.post(f"{RULES}add/", NEWS)

    [rule] = queue_rules.read()
    assert (rule.name, rule.queue, rule.conditions.tag) == ("news", "bulk", ("news",))
    assert QueueRule.objects.get().who == "hermes"
    assert "email tagged news" in hermes.get(RULES).text
    hermes.post(RULES, {"action": "delete_selected", "_selected_action": [QueueRule.objects.get().pk], "post": "yes"})
    assert list(queue_rules.read()) == []


@pytest.mark.parametrize(
    ("conditions", "error"),
    [
        ('{"moon": ["full"]}', "moon: There is no such condition"),
        ('{"size": {"from": 10, "to": 5}}', "size: No email can match"),
        ('{"queue": ["bulk"]}', "Remove bulk from the condition"),
        ("[]", "Conditions are an object"),
    ],
)
def test_a_rule_that_no_email_can_meet_is_refused(hermes, conditions, error):
    page = hermes.post(f"{RULES}add/", NEWS | {"conditions": conditions}).text

    assert error in page.replace("&#x27;", "'")
    assert not QueueRule.objects.exists()


def test_a_rule_for_every_email_has_no_conditions(hermes):
    hermes.post(f"{RULES}add/", NEWS | {"conditions": "{}"})

    assert "every email" in hermes.get(RULES).text


def test_the_list_warns_of_a_rule_that_decides_nothing(hermes):
    hermes.post(f"{RULES}add/", NEWS)
    hermes.post(f"{RULES}add/", NEWS | {"name": "late", "position": 20, "queue": "large"})

    assert "Rule late decides nothing" in hermes.get(RULES).text
