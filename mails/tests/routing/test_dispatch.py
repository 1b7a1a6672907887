"""Emails keep to the routing rule that they matched."""

import pytest

from mails.actions import apply
from mails.lifecycle.action_requests import AccountChoice, ActionRequest
from mails.models import Mail
from mails.obstacles import find_obstacles
from mails.routing import changes
from mails.routing.drafts import read_change
from mails.states import Action, Actor, Status
from mails.tests.builders import HERA, a_mail, dispatch, event_names, reloaded
from mails.tests.routing.builders import a_rule, blob_of
from mails.timeline.story import read_story
from mercury.lib.database import database_clock
from providers.accounts import registration

pytestmark = pytest.mark.django_db(transaction=True)
TO_GREECE = {"recipient": "hera@hera.gr"}


def test_an_email_uses_the_accounts_of_its_rule_only(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    greek = [a_mail(**TO_GREECE) for _ in range(6)]
    others = [a_mail() for _ in range(20)]

    assert dispatch() == 26

    assert {reloaded(mail).provider for mail in greek} == {"hades"}
    assert {reloaded(mail).provider for mail in others} == {"olympus", "hades"}


def test_its_event_names_the_rule_and_why_the_others_were_left_out(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    mail = a_mail(**TO_GREECE)
    dispatch()

    blob = blob_of(mail)

    assert blob["rule"] == "greece"
    assert [(line["account"], line["note"]) for line in blob["evaluated"]] == [
        ("hades", "selected (drew 1 of 1)"),
        ("olympus", "rule 'greece' allows only hades"),
    ]


def test_an_email_without_a_rule_has_none_in_its_event(olympus):
    a_rule("greece", "olympus", recipient_domain=["hera.gr"])
    mail = a_mail()
    dispatch()

    assert "rule" not in blob_of(mail)
    assert reloaded(mail).routing_rule is None


def test_the_first_rule_that_matches_decides(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    a_rule("invoices", "olympus", tag=["invoice"])
    mail = a_mail(**TO_GREECE, tags=["invoice"])
    dispatch()

    assert reloaded(mail).provider == "hades"


def test_one_recipient_in_the_domain_decides_for_the_whole_email(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    mail = a_mail(recipient=[HERA, "hera@hera.gr"])
    dispatch()

    assert reloaded(mail).provider == "hades"


def test_a_rule_sets_order_and_weights(olympus, hades):
    registration.register("zeus", "sandbox", {}, by="test")
    first = {"account": "hades", "priority": 1, "weight": 3}
    a_rule("greece", first, {"account": "olympus", "priority": 2}, recipient_domain=["hera.gr"])
    mail = a_mail(**TO_GREECE)
    dispatch()

    listed = {line["account"]: line for line in blob_of(mail)["evaluated"]}

    assert (listed["hades"]["weight"], listed["hades"]["selected"]) == (3, True)
    assert listed["olympus"]["priority"] == 2
    assert listed["olympus"]["note"] == "used when no account of priority 1 can take the email"
    assert listed["zeus"]["note"] == "rule 'greece' allows only hades and olympus"


def test_the_next_account_of_a_rule_takes_over(olympus, hades):
    registration.register("zeus", "sandbox", {}, weight=100, by="test")
    a_rule(
        "greece",
        {"account": "hades", "priority": 1},
        {"account": "olympus", "priority": 2},
        recipient_domain=["hera.gr"],
    )
    hades.refuse(503)
    mail = a_mail(**TO_GREECE)
    dispatch()

    assert (reloaded(mail).provider, reloaded(mail).attempt_count) == ("olympus", 2)


def test_a_rule_whose_account_is_disabled_lets_its_emails_wait_and_says_so(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    hades.disable()
    waiting, free = a_mail(**TO_GREECE), a_mail()

    assert dispatch() == 1

    assert reloaded(free).status == Status.DONE
    assert reloaded(waiting).status == Status.QUEUED
    [sentence] = find_obstacles(reloaded(waiting)).account_sentences
    assert sentence == (
        "No account allowed by its routing rule 'greece' can accept this email now: hades (disabled, until someone "
        "enables it). It waits until an operator changes that."
    )
    hades.enable()
    assert dispatch() == 1


def test_a_rule_whose_account_was_removed_names_it(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    registration.remove(hades.account, by="test")
    mail = a_mail(**TO_GREECE)
    dispatch()

    assert reloaded(mail).status == Status.QUEUED
    assert "hades (no such account, and rule 'greece' names it)" in find_obstacles(reloaded(mail)).sentences[0]


def test_a_change_of_a_rules_accounts_counts_for_emails_that_wait(olympus, hades):
    rule = a_rule("greece", "hades", recipient_domain=["hera.gr"])
    hades.disable()
    mail = a_mail(**TO_GREECE)
    assert dispatch() == 0

    draft = read_change(rule, {"accounts": ["olympus"]}, known_accounts=["olympus"])
    changes.change(rule, draft, by="user:hermes")

    assert dispatch() == 1
    assert reloaded(mail).provider == "olympus"


def test_an_account_that_a_person_chose_goes_before_the_rule(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    hades.disable()
    mail = a_mail(**TO_GREECE)
    dispatch()

    apply.apply_action(mail.pk, ActionRequest(action=Action.HOLD, by=Actor.COMMAND))
    choice = AccountChoice(via="olympus")
    apply.apply_action(mail.pk, ActionRequest(action=Action.REPROCESS, by=Actor.COMMAND, account_choice=choice))
    dispatch()

    assert reloaded(mail).provider == "olympus"
    assert "rule" not in blob_of(mail)


def test_an_email_of_a_rule_that_is_gone_is_not_sent_until_it_is_matched_again(olympus, hades):
    rule = a_rule("greece", "hades", recipient_domain=["hera.gr"])
    mail = a_mail(**TO_GREECE)
    changes.remove(rule, by="user:hermes")

    assert dispatch() == 0
    assert "its routing rule was removed or disabled" in find_obstacles(reloaded(mail)).sentences[0]


@pytest.mark.parametrize("action", [Action.RELEASE, Action.REPROCESS])
def test_an_email_that_a_person_lets_go_on_is_matched_with_the_rules_as_they_are_now(olympus, hades, action):
    mail = a_mail(**TO_GREECE)
    apply.apply_action(mail.pk, ActionRequest(action=Action.HOLD, by=Actor.COMMAND))
    rule = a_rule("greece", "hades", recipient_domain=["hera.gr"])

    apply.apply_action(mail.pk, ActionRequest(action=action, by=Actor.COMMAND))

    assert reloaded(mail).routing_rule == rule.pk
    dispatch()
    assert reloaded(mail).provider == "hades"


def test_the_timeline_names_the_rule(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    mail = a_mail(**TO_GREECE)
    dispatch()

    [chosen] = [
        entry for entry in read_story(reloaded(mail), database_clock.now()).entries if entry.event == "READY TO SEND"
    ]

    assert chosen.sentence == "The only eligible account, by the routing rule “greece”"
    assert event_names(mail)[-1] == "DONE"


def test_a_route_too_long_to_be_stored_whole_keeps_its_rule(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    mail = a_mail(**TO_GREECE)
    Mail.objects.filter(pk=mail.pk).update(routing_constraint={"excluded": [f"gone-{n}" for n in range(100)]})

    dispatch()

    assert reloaded(mail).provider == "hades"
