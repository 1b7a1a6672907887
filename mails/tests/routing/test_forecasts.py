"""What previews and alerts say of emails that a routing rule binds to accounts."""

import pytest

from mails.actions.preview import describe_effect, estimate_send_time, preview_action
from mails.lifecycle.action_requests import EVERY_ACCOUNT, AccountChoice
from mails.models import Mail
from mails.reporting.alerts import find_alerts
from mails.reporting.stuck_rules import StuckRule, list_stuck_rules
from mails.reporting.system_status import read_system_status
from mails.states import Action, Status
from mails.tests.builders import HERA, IRIS, a_mail, reloaded
from mails.tests.lifecycle.support import request_action
from mails.tests.routing.builders import a_rule
from providers.accounts import registration, registry
from providers.health import breaker_store
from providers.models import Account, BreakerMode

pytestmark = pytest.mark.django_db(transaction=True)

ALL_OF_HADES = "waits: no account of routing rule 'gods' available"


def bind_to_hades(hades) -> None:
    """Bind the emails to hera to the account hades, which is disabled."""
    a_rule("gods", "hades", recipient_domain=["olimpus.com"], recipients={"to": 1})
    hades.disable()


def list_found() -> list[StuckRule]:
    return list_stuck_rules(registry.load_candidates())


def test_a_preview_counts_only_the_accounts_that_the_rule_allows(olympus, hades):
    bind_to_hades(hades)
    bound, free = a_mail(recipient=HERA), a_mail(recipient=f"{HERA}, {IRIS}")
    for mail in (bound, free):
        request_action(mail, Action.HOLD)

    groups = preview_action(Action.RELEASE, Mail.objects.all()).groups

    assert {(group.forecast, group.emails) for group in groups} == {
        (ALL_OF_HADES, 1),
        ("likely to succeed: 1 of 1 accounts available", 1),
    }
    assert describe_effect(reloaded(bound), Action.RELEASE)[-1] == (
        "The email waits: no account of routing rule 'gods' available."
    )


def test_a_preview_goes_by_the_rules_of_now(olympus, hades):
    mail = a_mail(recipient=HERA)
    Mail.objects.update(status=Status.DISCARDED, next_attempt_at=None)
    a_rule("gods", "hades", recipient_domain=["olimpus.com"])

    [group] = preview_action(Action.REPROCESS, Mail.objects.all()).groups

    assert reloaded(mail).routing_rule is None
    assert group.forecast == "likely to succeed: 1 of 1 accounts of routing rule 'gods' available"


@pytest.mark.parametrize(
    ("choice", "forecast"),
    [
        (EVERY_ACCOUNT, ALL_OF_HADES),
        (AccountChoice(via="olympus"), "likely to succeed: olympus is available"),
        (AccountChoice(not_tried=True), "waits: no untried account of routing rule 'gods' available"),
    ],
)
def test_only_accounts_that_a_person_chose_go_before_a_rule(choice, forecast, olympus, hades):
    a_mail(recipient=HERA)
    bind_to_hades(hades)
    Mail.objects.update(status=Status.DISCARDED, next_attempt_at=None)

    [group] = preview_action(Action.REPROCESS, Mail.objects.all(), account_choice=choice).groups

    assert group.forecast == forecast


def test_no_time_is_promised_where_rules_choose_the_accounts(olympus):
    registration.update(Account.objects.get(name="olympus"), rate=2.0, by="hermes")

    assert "2 per second" in estimate_send_time(10, EVERY_ACCOUNT)
    a_rule("gods", "olympus", tag=["gods"])
    assert estimate_send_time(10, EVERY_ACCOUNT) == "as fast as the accounts' limits allow."


def test_a_rule_without_a_usable_account_is_an_alert_with_the_emails_that_wait(olympus, hades):
    bind_to_hades(hades)
    for _ in range(2):
        a_mail(recipient=HERA)
    chosen = a_mail(recipient=HERA)
    Mail.objects.filter(pk=chosen.pk).update(routing_constraint={"via": "olympus"})
    a_mail(recipient=f"{HERA}, {IRIS}")

    [alert] = [alert for alert in find_alerts(read_system_status()) if alert.code == "rule_without_account"]

    assert alert.about == "gods"
    assert "hades (disabled). 2 emails wait for them." in alert.sentence


def test_a_breaker_that_is_forced_open_leaves_a_rule_without_an_account(olympus, hades):
    a_rule("gods", "hades", tag=["gods"])
    assert list_found() == []

    breaker_store.force("hades", BreakerMode.OPEN, by="hermes")

    assert list_found() == [StuckRule(name="gods", accounts=["hades (breaker forced open)"], emails=0)]


def test_a_disabled_rule_and_one_with_another_account_are_no_alert(olympus, hades, django_assert_num_queries):
    a_rule("gods", "hades", enabled=False, tag=["gods"])
    a_rule("all", "hades", "olympus", tag=["all"])
    hades.disable()
    candidates = registry.load_candidates()
    list_stuck_rules(candidates)

    with django_assert_num_queries(0):
        assert list_stuck_rules(candidates) == []
