"""Which email may use some accounts only: by a rule, or because a person chose them."""

import pytest

from mails.lifecycle.counters import CounterKey, Counters
from mails.models import Mail, Rollup
from mails.reporting.alerts import find_alerts
from mails.reporting.bound_email import BoundEmail, list_bound_email
from mails.reporting.system_status import read_system_status
from mails.states import Counted
from mails.tests.builders import a_mail
from mails.tests.routing.builders import a_rule
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.health import breaker_store
from providers.models import BreakerMode

pytestmark = pytest.mark.django_db(transaction=True)


def list_found() -> list[BoundEmail]:
    return list_bound_email(registry.load_candidates())


def test_enabled_rules_and_the_choices_of_people_bind_email(olympus, hades):
    a_rule("gods", "hades", tag=["gods"])
    a_rule("off", "olympus", enabled=False, tag=["off"])
    via, excluded, _ = a_mail(), a_mail(), a_mail()
    Mail.objects.filter(pk=via.pk).update(routing_constraint={"via": "olympus"})
    Mail.objects.filter(pk=excluded.pk).update(routing_constraint={"excluded": ["hades"]})

    assert list_found() == [
        BoundEmail(rule="gods", accounts=["hades"]),
        BoundEmail(accounts=["olympus"], emails=2),
    ]


def test_an_alert_of_an_open_breaker_says_which_email_waits(olympus, hades):
    a_rule("gods", "hades", tag=["gods"])
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(routing_constraint={"via": "hades"})

    breaker_store.force("hades", BreakerMode.OPEN, by="hermes")

    [alert] = [alert for alert in find_alerts(read_system_status()) if alert.code == "breaker_open"]
    assert (
        "Its email goes to olympus, but email of the routing rule gods and 1 email with a choice of accounts waits until it "
        "is automatic again: no other account that it may use is available."
    ) in alert.remedy


def test_an_alert_of_an_account_that_refuses_every_request_says_which_email_waits(olympus, hades):
    a_rule("gods", "hades", tag=["gods"])
    counters = Counters()
    for _ in range(3):
        counters.count(CounterKey(Counted.CALL, "text", "hades", outcome="refused", failure_class="account"))
    Rollup.objects.bulk_create([Rollup(**row) for row in counters.build_rows(database_clock.now())])

    [alert] = [alert for alert in find_alerts(read_system_status()) if alert.code == "account_refuses"]

    assert "Its email goes to olympus, but email of the routing rule gods waits until it works" in alert.remedy
    assert "nothing is lost" not in alert.remedy


def test_nothing_is_read_of_it_while_every_enabled_account_is_ready(olympus, hades):
    a_rule("gods", "hades", tag=["gods"])

    assert read_system_status().bound_email == []
