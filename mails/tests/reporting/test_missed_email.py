"""Which emails an account missed that accepted none: those that it could have got, by rules, choices and priorities."""

import datetime as dt

import pytest
from django.utils import timezone

from mails.models import Mail
from mails.reporting.alerts import find_alerts
from mails.reporting.missed_email import MissedEmail, count_missed
from mails.reporting.system_status import read_system_status
from mails.tests.builders import a_mail, dispatch
from mails.tests.routing.builders import a_rule
from providers.accounts import registration, registry
from providers.models import Account, BreakerChange

pytestmark = pytest.mark.django_db(transaction=True)


def send_through(account: str, emails: int, **fields) -> None:
    """Let an account accept emails that name no account themselves."""
    mails = [a_mail(**fields) for _ in range(emails)]
    Mail.objects.filter(pk__in=[mail.pk for mail in mails]).update(routing_constraint={"via": account})
    dispatch()
    Mail.objects.filter(pk__in=[mail.pk for mail in mails]).update(routing_constraint=None)


def missed_by(name: str) -> MissedEmail | None:
    since = timezone.now() - dt.timedelta(minutes=15)
    return count_missed([name], registry.load_candidates(), since).get(name)


def change(name: str, **changes) -> None:
    registration.update(Account.objects.get(name=name), by="hermes", **changes)


def test_an_account_misses_the_emails_that_it_could_have_got(olympus, hades):
    change("hades", weight=3)
    send_through("hades", 4)

    assert missed_by("olympus") == MissedEmail(emails=4, fair_share=1.0)
    assert missed_by("hades") is None


def test_an_account_does_not_miss_email_that_a_rule_or_a_person_gave_to_another(olympus, hades):
    a_rule("gods", "hades", tag=["gods"])
    send_through("hades", 3, tags=["gods"])
    chosen = a_mail()
    Mail.objects.filter(pk=chosen.pk).update(routing_constraint={"via": "hades"})
    dispatch()

    assert missed_by("olympus") is None


def test_a_rule_has_weights_of_its_own(olympus, hades):
    a_rule("gods", {"account": "hades", "weight": 1}, {"account": "olympus", "weight": 3}, tag=["gods"])
    send_through("hades", 4, tags=["gods"])

    assert missed_by("olympus") == MissedEmail(emails=4, fair_share=3.0)


def test_a_reserve_misses_nothing_while_the_first_accounts_accept_email(olympus, hades):
    change("olympus", priority=2)
    send_through("hades", 2)

    assert missed_by("olympus") is None


def test_a_first_account_misses_all_that_a_reserve_accepts(olympus, hades):
    change("hades", priority=2)
    send_through("hades", 2)

    assert missed_by("olympus") == MissedEmail(emails=2, fair_share=2.0)


def test_an_account_of_weight_0_and_one_that_is_disabled_miss_nothing(olympus, hades):
    send_through("hades", 1)
    change("olympus", weight=0)
    assert missed_by("olympus") is None

    change("olympus", weight=1, enabled=False)
    assert missed_by("olympus") is None


@pytest.mark.parametrize(("tag", "is_alert"), [("gods", False), ("mortals", True)])
def test_a_silent_failover_is_no_alert_where_a_rule_chose_the_account(tag, is_alert, olympus, hades):
    a_rule("gods", "hades", tag=["gods"])
    send_through("hades", 20, tags=[tag])
    BreakerChange.objects.update(created_at=timezone.now() - dt.timedelta(hours=1))  # both are there for long

    alerts = [alert for alert in find_alerts(read_system_status()) if alert.code == "silent_failover"]

    assert bool(alerts) is is_alert
    assert all("other accounts accepted 20 that it could have taken" in alert.sentence for alert in alerts)
