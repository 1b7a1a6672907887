"""Emails on their way are matched again after the rules changed."""

import datetime as dt

import pytest

from mails.maintenance import rule_matching
from mails.maintenance.rule_matching import RuleMatching
from mails.models import ConfigurationVersion, Mail, PeriodicTask
from mails.routing import changes
from mails.routing.matching import match_again
from mails.states import Status
from mails.tests.builders import COMMAND, a_mail, dispatch, reloaded
from mails.tests.routing.builders import a_rule
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)
TO_GREECE = {"recipient": "hera@hera.gr"}


@pytest.fixture(autouse=True)
def task():
    PeriodicTask.objects.create(name=rule_matching.TASK)


@pytest.fixture
def work():
    """Let the last change settle, and work until the run is over."""
    matching = RuleMatching()

    def settle_and_work() -> int:
        settled = database_clock.now() - rule_matching.SETTLED - dt.timedelta(seconds=1)
        ConfigurationVersion.objects.update(changed_at=settled)
        PeriodicTask.objects.filter(done_until__gte=settled).update(done_until=None)
        return matching.work(seconds=60)

    return settle_and_work


def test_emails_that_wait_get_the_rule_that_was_added(olympus, hades, work):
    mails, other = [a_mail(**TO_GREECE) for _ in range(3)], a_mail()
    rule = a_rule("greece", "hades", recipient_domain=["hera.gr"])

    assert work() == 3

    assert {reloaded(mail).routing_rule for mail in mails} == {rule.pk}
    assert reloaded(other).routing_rule is None
    dispatch()
    assert {reloaded(mail).provider for mail in mails} == {"hades"}


def test_emails_of_a_removed_rule_are_free_again(olympus, hades, work):
    rule = a_rule("greece", "hades", recipient_domain=["hera.gr"])
    mail = a_mail(**TO_GREECE)
    changes.remove(rule, by="user:hermes")

    assert work() == 1
    assert reloaded(mail).routing_rule is None
    assert dispatch() == 1


def test_a_new_order_counts(olympus, hades, work):
    first = a_rule("invoices", "olympus", tag=["invoice"])
    second = a_rule("greece", "hades", recipient_domain=["hera.gr"])
    mail = a_mail(**TO_GREECE, tags=["invoice"])
    assert reloaded(mail).routing_rule == first.pk

    changes.move(second, 1, by="user:hermes")

    assert work() == 1
    assert reloaded(mail).routing_rule == second.pk


def test_it_goes_through_all_emails_in_batches(olympus, work, monkeypatch):
    monkeypatch.setattr(rule_matching, "BATCH", 3)
    mails = [a_mail(**TO_GREECE) for _ in range(10)]
    Mail.objects.filter(pk__in=[mail.pk for mail in mails[:7]]).update(expires_at=mails[0].expires_at)
    a_rule("greece", "olympus", recipient_domain=["hera.gr"])

    assert work() == 10


def test_it_waits_until_every_process_has_the_rules(olympus):
    a_mail(**TO_GREECE)
    a_rule("greece", "olympus", recipient_domain=["hera.gr"])

    assert RuleMatching().work(seconds=60) == 0


def test_a_run_is_not_repeated(olympus, work):
    a_mail(**TO_GREECE)
    a_rule("greece", "olympus", recipient_domain=["hera.gr"])
    work()

    assert PeriodicTask.objects.get(name=rule_matching.TASK).done_until is not None
    assert RuleMatching().work(seconds=60) == 0


def test_without_rules_there_is_nothing_to_do(olympus, django_assert_num_queries):
    a_mail()
    with django_assert_num_queries(1):
        assert RuleMatching().work(seconds=60) == 0


def test_an_email_that_is_being_sent_gets_its_rule_for_the_next_attempt(olympus, hades, work):
    from mails.dispatch.dispatcher import Dispatcher

    mail = a_mail(**TO_GREECE)
    [call] = Dispatcher(["text"], concurrency=8).claimer.claim(8).calls
    rule = a_rule("greece", "hades", recipient_domain=["hera.gr"])

    assert work() == 1

    assert call.mail.id == mail.pk
    sending = reloaded(mail)
    assert (sending.status, sending.routing_rule) == (Status.SENDING, rule.pk)


def test_an_email_that_comes_back_with_a_rule_that_is_gone_is_matched_again(olympus, hades, work):
    mail = a_mail(**TO_GREECE)
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    work()
    Mail.objects.filter(pk=mail.pk).update(routing_rule=4711)

    assert RuleMatching().work(seconds=60) == 1
    assert reloaded(mail).routing_rule not in (4711, None)


def test_matching_writes_only_what_changed(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    mails = [a_mail(COMMAND, **TO_GREECE), a_mail()]

    assert match_again([mail.pk for mail in mails]) == 0
    assert match_again([]) == 0
