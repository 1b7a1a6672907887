"""Reprocess with changed recipients: who is replaced, left out or sent it once more, by the rules of intake."""

import datetime as dt
import json

import pytest
from django.contrib.auth.models import Permission
from django.db import connection

from mails.actions.apply import apply_action
from mails.lifecycle.action_requests import ActionRequest
from mails.lifecycle.recipient_changes import RecipientChanges
from mails.message.message import Mailbox, Message, MessageRecipient
from mails.models import ApiKey, Attempt, Mail
from mails.states import Action, AttemptState, RecipientKind, RecipientState, Status
from mails.tests.builders import HERA, IRIS, ZEUS, dispatch, reloaded
from mails.tests.callers import HELLO, MAILS, caller, problem
from mails.tests.commandline import run
from mails.tests.people import browser_of, hermes, zeus
from mercury.lib.commands import ExitCode

ARGUS, WRONG = "argus@olimpus.com", "hera@olimpus.con"
IN_COMMITS = pytest.mark.django_db(transaction=True)


class Stub:
    """A recipient as it is stored."""

    def __init__(self, address, state=RecipientState.PENDING):
        self.address, self.state = address, state


def replacing(old, new):
    return RecipientChanges(replaced=((old, Mailbox(address=new)),))


STORED = [Stub(WRONG, RecipientState.REFUSED), Stub(IRIS), Stub(ZEUS, RecipientState.ACCEPTED)]


@pytest.mark.parametrize(
    ("changes", "codes"),
    [
        (replacing(WRONG, HERA), []),
        (RecipientChanges(dropped=(WRONG,)), []),
        (RecipientChanges(again=(ZEUS,)), []),
        (replacing(WRONG, IRIS), ["duplicate"]),
        (replacing(HERA, ARGUS), ["unknown_recipient"]),
        (replacing(ZEUS, ARGUS), ["already_accepted"]),
        (RecipientChanges(dropped=(ZEUS,)), ["already_accepted"]),
        (RecipientChanges(again=(IRIS,)), ["not_accepted"]),
        (RecipientChanges(dropped=(IRIS, IRIS)), ["ambiguous"]),
        (RecipientChanges(dropped=(IRIS, WRONG)), ["required"]),
        (RecipientChanges(dropped=(IRIS, WRONG), again=(ZEUS,)), []),
        (RecipientChanges(replaced=((WRONG, Mailbox(address=ARGUS)), (IRIS, Mailbox(address=ARGUS)))), ["duplicate"]),
        (RecipientChanges(replaced=((WRONG, Mailbox(address=IRIS)),), dropped=(IRIS,)), []),
    ],
)
def test_changes_that_cannot_be_made_are_named(changes, codes):
    assert [error.code for error in changes.find_errors(STORED, reopened=True)] == codes


def test_a_replaced_recipient_keeps_its_place_and_its_kind():
    message = Message(
        sender=ZEUS,
        recipients=(
            MessageRecipient(address=WRONG, kind=RecipientKind.TO),
            MessageRecipient(address=IRIS, kind=RecipientKind.CC),
        ),
    )

    changed = replacing(WRONG, HERA).change(message)

    assert [(to.address, to.kind) for to in changed.recipients] == [(HERA, "to"), (IRIS, "cc")]


def given_up(client, **changes):
    """An email of this caller that was discarded: every recipient was refused."""
    mail = Mail.objects.get(pk=client.post(MAILS, {**HELLO, **changes}).json()["id"])
    mail.recipients.update(state=RecipientState.REFUSED, reason="no such mailbox")
    Mail.objects.filter(pk=mail.pk).update(status=Status.DISCARDED, next_attempt_at=None, failure_class="message")
    return reloaded(mail)


def reprocess(client, mail, body):
    return client.post(f"{MAILS}{mail.pk}/reprocess", body, format="json")


def shown_recipients(mail):
    return list(mail.recipients.order_by("id").values_list("address", "kind", "state"))


@IN_COMMITS
def test_a_bounced_address_is_replaced_and_stays_visible_in_the_event(olympus):
    client = caller("shop")
    mail = given_up(client, recipient=WRONG, cc=[IRIS, ARGUS])

    answer = reprocess(client, mail, {"replace": {WRONG: {"email": HERA, "name": "Hera"}}, "drop": [ARGUS]})

    assert answer.status_code == 200, answer.json()
    assert shown_recipients(mail) == [(HERA, "to", "pending"), (IRIS, "cc", "pending")]
    event = mail.events.get(event="REPROCESS")
    assert event.created_by == "key:shop"
    assert json.loads(event.blob) == {
        "before": "discarded",
        "replaced": [{"old": WRONG, "new": HERA}],
        "dropped": [ARGUS],
    }
    assert reloaded(mail).recipient == HERA
    dispatch()
    assert reloaded(mail).status == Status.DONE
    assert shown_recipients(mail) == [(HERA, "to", "accepted"), (IRIS, "cc", "accepted")]
    page = browser_of(hermes()).get(f"/admin/mails/mail/{mail.pk}/change/").text
    assert f"Replaced: {WRONG} by {HERA}. Left out: {ARGUS}." in page


@IN_COMMITS
def test_what_accounts_must_carry_follows_from_the_new_recipients():
    client = caller()
    mail = given_up(client, recipient=HERA, cc=IRIS)
    assert "cc" in mail.needs

    reprocess(client, mail, {"drop": [IRIS]})

    assert "cc" not in reloaded(mail).needs


@IN_COMMITS
def test_recipients_that_got_it_get_it_no_more_unless_asked(olympus):
    client = caller()
    mail = given_up(client, recipient=[HERA, IRIS])
    mail.recipients.filter(address=HERA).update(state=RecipientState.ACCEPTED)
    mail.recipients.filter(address=IRIS).update(state=RecipientState.PENDING)
    Mail.objects.filter(pk=mail.pk).update(
        status=Status.WAITING, next_attempt_at=dt.datetime(2090, 1, 1, tzinfo=dt.UTC)
    )

    refused = problem(reprocess(client, mail, {"replace": {HERA: ARGUS}}), 400, "invalid_action")
    reprocess(client, mail, {"replace": {IRIS: ARGUS}})
    assert shown_recipients(mail) == [(HERA, "to", "accepted"), (ARGUS, "to", "pending")]
    Mail.objects.filter(pk=mail.pk).update(status=Status.WAITING)
    reprocess(client, mail, {"again": [HERA]})

    assert "Send a copy to another one" in refused["errors"][0]["detail"]
    assert refused["errors"][0]["pointer"] == "/replace"
    assert shown_recipients(mail) == [(HERA, "to", "pending"), (ARGUS, "to", "pending")]


@IN_COMMITS
@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"replace": {WRONG: "nobody"}}, f"/replace/{WRONG}/0"),
        ({"replace": [WRONG]}, "/replace"),
        ({"replace": {HERA: IRIS}}, "/replace"),
        ({"drop": [WRONG]}, "/drop"),
        ({"drop": ["nobody"]}, "/drop/0"),
        ({"again": [WRONG]}, "/again"),
        ({"accounts": []}, "/accounts"),
        ({"accounts": ["charon"]}, "/accounts"),
        ({"accounts": ["olympus"], "via": "olympus"}, "/accounts"),
    ],
)
def test_a_wrong_change_is_named_and_nothing_is_changed(olympus, body, pointer):
    client = caller()
    mail = given_up(client, recipient=WRONG)

    found = problem(reprocess(client, mail, body), 400, "invalid_action")

    assert found["errors"][0]["pointer"] == pointer
    assert reloaded(mail).status == Status.DISCARDED
    assert shown_recipients(mail) == [(WRONG, "to", "refused")]


@IN_COMMITS
def test_a_new_recipient_keeps_the_rules_of_intake(settings):
    client = caller(recipients_per_day=2)
    mail = given_up(client, recipient=WRONG)
    ApiKey.objects.update(senders=[HERA])
    problem(reprocess(client, mail, {"replace": {WRONG: HERA}}), 403, "sender_not_allowed")
    ApiKey.objects.update(senders=[ZEUS])

    assert reprocess(client, mail, {"replace": {WRONG: HERA}}).status_code == 200
    Mail.objects.filter(pk=mail.pk).update(status=Status.DISCARDED, next_attempt_at=None)
    found = reprocess(client, mail, {"replace": {HERA: IRIS}})

    problem(found, 429, "limit_reached")
    assert found["Retry-After"]
    assert reloaded(mail).status == Status.DISCARDED
    assert client.key.usage.recipients == 2


@IN_COMMITS
def test_an_operator_names_new_recipients_only_of_senders_they_may_send_as():
    mail, user = given_up(caller(), recipient=WRONG), zeus(HERA)
    user.is_superuser = False
    for name in ("view_mail", "change_mail"):
        user.user_permissions.add(Permission.objects.get(codename=name))

    problem(
        browser_of(user).post(
            f"{MAILS}{mail.pk}/reprocess",
            json.dumps({"replace": {WRONG: HERA}}),
            content_type="application/json",
        ),
        403,
        "sender_not_allowed",
    )


@IN_COMMITS
def test_an_unanswered_request_is_not_repeated_with_its_key_after_a_change():
    client = caller()
    mail = given_up(client, recipient=[WRONG, IRIS])
    now = dt.datetime(2026, 11, 30, tzinfo=dt.UTC)
    lease = mail.pk
    Attempt.objects.create(
        mail=mail,
        number=1,
        account="olympus",
        lease=lease,
        opened_at=now,
        closed_at=now,
        state=AttemptState.UNKNOWN,
        key_scope="k",
    )
    Mail.objects.filter(pk=mail.pk).update(possible_duplicate=True)

    assert reprocess(client, mail, {"replace": {WRONG: HERA}}).status_code == 200

    assert Attempt.objects.get().key_scope == ""
    Mail.objects.filter(pk=mail.pk).update(status=Status.DISCARDED, delivery_guarantee="at-most-once")
    problem(reprocess(client, mail, {"replace": {HERA: WRONG}}), 409, "outcome_unknown")


@IN_COMMITS
def test_a_list_of_accounts_binds_every_round(olympus, hades):
    client = caller()
    mail = given_up(client)

    answer = reprocess(client, mail, {"accounts": ["hades", "olympus"]})

    assert answer.status_code == 200
    assert reloaded(mail).routing_constraint == {"via": "hades,olympus"}
    event = mail.events.get(event="REPROCESS")
    assert json.loads(event.blob)["via"] == "hades,olympus"
    dispatch()
    assert reloaded(mail).status == Status.DONE


@IN_COMMITS
def test_a_reprocessed_email_is_sent_and_expires_when_the_client_says():
    client = caller()
    mail, soon = given_up(client), dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(hours=2)

    alone = reprocess(client, mail, {"expires_at": soon.isoformat()})
    assert alone.status_code == 200, alone.json()
    assert reloaded(mail).expires_at == soon
    Mail.objects.filter(pk=mail.pk).update(status=Status.DISCARDED, next_attempt_at=None)
    later = reprocess(client, mail, {"send_at": soon.isoformat()})
    past = problem(reprocess(client, given_up(client), {"expires_at": "2020-01-01T00:00:00Z"}), 400, "invalid_action")

    assert later.status_code == 200, later.json()
    assert reloaded(mail).next_attempt_at == soon
    assert reloaded(mail).expires_at > soon
    assert past["errors"][0]["pointer"] == "/expires_at"


@IN_COMMITS
def test_the_command_changes_the_recipients_of_one_email(olympus):
    mail = given_up(caller(), recipient=[WRONG, IRIS])

    several = run("reprocess", "--state", "discarded", "--drop", IRIS)
    unknown = run("reprocess", str(mail.pk), "--replace", f"{ARGUS}={HERA}", "--dry-run")
    ran = run("reprocess", str(mail.pk), "--replace", f"{WRONG}={HERA}", "--drop", IRIS, "--expires", "2d", "--yes")

    assert "need one email id" in several.error
    assert several.code == ExitCode.USAGE_ERROR
    assert "is no recipient of this email" in unknown.error
    assert ran.code == 0, ran.error
    assert shown_recipients(mail) == [(HERA, "to", "pending")]
    left = reloaded(mail).expires_at - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=1, hours=23) < left < dt.timedelta(days=2, hours=1)
    assert "is not OLD=NEW" in run("reprocess", str(mail.pk), "--replace", "x").error


@IN_COMMITS
def test_the_page_has_a_field_for_each_recipient_that_has_no_email_yet(olympus):
    mail, operator = given_up(caller(), recipient=[WRONG, IRIS, ZEUS]), browser_of(hermes())
    mail.recipients.filter(address=ZEUS).update(state=RecipientState.ACCEPTED)
    url = f"/admin/mails/mail/{mail.pk}/action/reprocess/"
    names = {row.address: f"recipient-{row.pk}" for row in mail.recipients.all()}

    shown = operator.get(url).text
    wrong = operator.post(url, {"account_choice": "all", names[WRONG]: "nobody", names[IRIS]: IRIS})
    operator.post(url, {"account_choice": "all", names[WRONG]: HERA, names[IRIS]: ""})

    assert f'value="{WRONG}"' in shown
    assert f"Send it once more to {ZEUS}" in shown
    assert wrong.status_code == 400
    assert 'value="nobody"' in wrong.text
    assert shown_recipients(mail) == [(HERA, "to", "pending"), (ZEUS, "to", "accepted")]


@IN_COMMITS
def test_typed_recipients_are_kept_when_other_accounts_are_chosen(olympus, hades):
    mail, operator = given_up(caller(), recipient=[WRONG, IRIS]), browser_of(hermes())
    url = f"/admin/mails/mail/{mail.pk}/action/reprocess/"
    names = {row.address: f"recipient-{row.pk}" for row in mail.recipients.all()}

    page = operator.post(
        url, {"account_choice": "via", "via": ["hades", "olympus"], names[WRONG]: HERA, names[IRIS]: ""}, follow=True
    ).text

    assert "Nothing was changed yet" in page
    assert f'name="{names[WRONG]}" value="{HERA}"' in page
    assert f'name="{names[IRIS]}" value=""' in page
    assert reloaded(mail).status == Status.DISCARDED


@IN_COMMITS
def test_reprocessing_without_changes_reads_no_message(olympus, django_assert_max_num_queries):
    mail = given_up(caller())

    with django_assert_max_num_queries(20, connection=connection) as counted:
        apply_action(mail.pk, ActionRequest(action=Action.REPROCESS, by="zeus"))

    assert not any("mails_content" in query["sql"] for query in counted.captured_queries)
