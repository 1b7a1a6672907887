"""A suppressed recipient gets no email, the others of the same email get theirs, and the email says why."""

import datetime as dt
import json
from typing import Any

import pytest
from django.db import connection

from mails.actions import apply
from mails.dispatch.due import claim
from mails.lifecycle.action_requests import ActionRequest
from mails.models import Attempt, Mail, Recipient, Rollup, Suppression
from mails.reporting import statistics
from mails.states import Action, Counted, EventName, RecipientState, Status, SuppressionReason
from mails.suppression import entries
from mails.tests.builders import HELLO, HERA, IRIS, a_mail, dispatch, event_names, reloaded, submit
from mails.tests.people import browser_of, hermes
from mails.timeline.advice import advise
from mails.timeline.summary import summarize
from mercury.lib.database import database_clock
from providers.accounts import registration

pytestmark = pytest.mark.django_db(transaction=True)
BOTH = f"{HERA}, {IRIS}"


@pytest.fixture(autouse=True)
def _olympus() -> None:
    registration.register("olympus", "sandbox", {}, by="test")


def suppress(address: str = HERA, **options: Any) -> None:
    entries.suppress(address, **{"reason": SuppressionReason.HARD_BOUNCE, "source": "user:hermes"} | options)


def states_of(mail: Mail) -> dict[str, str]:
    return dict(Recipient.objects.filter(mail=mail).values_list("address", "state"))


def blobs(mail: Mail, name: EventName) -> list[dict[str, Any]]:
    return [json.loads(blob) for blob in mail.events.filter(event=name).values_list("blob", flat=True)]


def test_an_email_to_a_suppressed_address_is_accepted_and_ends_at_once() -> None:
    suppress()
    mail = reloaded(a_mail())
    assert (mail.status, mail.reason_code, mail.finished_at is not None) == (Status.DISCARDED, "suppressed", True)
    assert event_names(mail) == ["NEW", "ACCEPTED", "SUPPRESSED", "DISCARDED"]
    (told,) = blobs(mail, EventName.SUPPRESSED)
    assert (told["address"], told["reason"], told["scope"]) == (HERA, "hard-bounce", "")
    assert dt.datetime.fromisoformat(told["since"]) <= database_clock.now()
    assert dispatch() == 0
    assert not Attempt.objects.exists()
    assert "suppression list" in summarize(mail, database_clock.now())


def test_the_others_get_theirs() -> None:
    suppress()
    mail = a_mail(recipient=BOTH)
    assert event_names(mail) == ["NEW", "ACCEPTED", "SUPPRESSED", "ENQUEUE"]
    assert dispatch() == 1
    assert states_of(mail) == {HERA: RecipientState.SUPPRESSED, IRIS: RecipientState.ACCEPTED}
    assert [sent["to"] for sent in blobs(mail, EventName.SEND)] == [[IRIS]]
    found = advise(reloaded(mail), [], [], list(mail.recipients.all()))
    assert found is not None
    assert "suppression list" in found.title


def test_an_address_that_was_suppressed_after_the_email_was_accepted_gets_none() -> None:
    first, second = a_mail(), a_mail(recipient=BOTH)
    suppress()
    assert dispatch() == 1
    assert states_of(second) == {HERA: RecipientState.SUPPRESSED, IRIS: RecipientState.ACCEPTED}
    ended = reloaded(first)
    assert (ended.status, ended.reason_code, ended.attempt_count) == (Status.DISCARDED, "suppressed", 0)
    assert event_names(first)[-3:] == ["DEQUEUE", "SUPPRESSED", "DISCARDED"]


@pytest.mark.parametrize(
    ("scope", "sender", "status"),
    [
        ("", "zeus@olimpus.com", Status.DISCARDED),
        ("olimpus.com", "Zeus <zeus@olimpus.com>", Status.DISCARDED),
        ("olimpus.com", "zeus@OLIMPUS.com", Status.DISCARDED),
        ("olimpus.com", "zeus@mail.olimpus.com", Status.QUEUED),
        ("hades.com", "zeus@olimpus.com", Status.QUEUED),
    ],
)
def test_a_scope_is_the_domain_of_the_sender(scope: str, sender: str, status: Status) -> None:
    suppress(scope=scope)
    assert reloaded(a_mail(sender=sender)).status == status


@pytest.mark.parametrize("address", ["Hera@olimpus.com", "HERA@Olimpus.COM", "hera@OLIMPUS.com"])
def test_letters_in_either_case_are_one_mailbox(address: str) -> None:
    suppress(address.swapcase())
    assert reloaded(a_mail(recipient=address)).status == Status.DISCARDED


def test_letters_beyond_ascii_are_compared_in_either_case() -> None:
    suppress("ÄRA@bücher.example")
    assert reloaded(a_mail(recipient="ära@xn--bcher-kva.example")).status == Status.DISCARDED


def test_an_expired_entry_suppresses_nobody() -> None:
    suppress(expires_at=database_clock.now() - dt.timedelta(seconds=1))
    mail = a_mail()
    assert dispatch() == 1
    assert states_of(mail) == {HERA: RecipientState.ACCEPTED}


def test_what_is_removed_from_the_list_is_sent_when_it_is_reprocessed() -> None:
    suppress()
    mail = a_mail()
    apply_reprocess(mail)
    assert dispatch() == 0
    assert (reloaded(mail).status, states_of(mail)) == (Status.DISCARDED, {HERA: RecipientState.SUPPRESSED})
    entries.remove(list(Suppression.objects.all()), by="user:hermes")
    apply_reprocess(mail)
    assert dispatch() == 1
    assert states_of(mail) == {HERA: RecipientState.ACCEPTED}


def apply_reprocess(mail: Mail) -> None:
    apply.apply_action(mail.pk, ActionRequest(action=Action.REPROCESS, by="user:hermes"))


def test_rejected_emails_and_replays_are_left_as_they_are() -> None:
    kept = submit(HELLO, key="one")
    suppress()
    again = submit(HELLO, key="one")
    assert (again.mail.pk, again.mail.status) == (kept.mail.pk, Status.QUEUED)  # type: ignore[union-attr]


def test_suppressed_recipients_are_counted() -> None:
    suppress()
    suppress(IRIS)
    a_mail(recipient=BOTH)
    counted = Rollup.objects.filter(kind=Counted.SUPPRESSED).values_list("count", flat=True)
    assert sum(counted) == 2
    assert sum(Rollup.objects.filter(kind=Counted.END, outcome="discarded").values_list("count", flat=True)) == 1
    now = database_clock.now() + dt.timedelta(seconds=1)
    figures = statistics.load_statistics(now - dt.timedelta(hours=1), now)
    assert statistics.summarize_all(figures).suppressed == 2
    assert [row.suppressed for row in statistics.summarize_queues(figures)] == [2]
    assert sum(point.suppressed for point in statistics.build_series(figures)) == 2
    assert "; 2 recipients suppressed" in browser_of(hermes()).get("/admin/").text


def test_the_path_of_the_list_leads_to_it() -> None:
    answer = browser_of(hermes()).get("/admin/suppressions/?q=hera")
    assert answer["Location"] == "/admin/mails/suppression/?q=hera"


def test_a_claim_without_entries_asks_nothing_more(django_assert_num_queries: Any) -> None:
    for _ in range(3):
        a_mail()
    branch = claim.Branch("text", Mail.objects.values_list("route", flat=True)[0], 10)
    with claim.lock_claims(), django_assert_num_queries(1, connection=connection):
        assert len(claim.select_due([branch], limit=10, now=database_clock.now())) == 3
    suppress(IRIS)
    with claim.lock_claims(), django_assert_num_queries(2, connection=connection):
        assert len(claim.select_due([branch], limit=10, now=database_clock.now())) == 3


def test_a_submission_without_entries_asks_nothing_more(django_assert_num_queries: Any) -> None:
    a_mail()
    with django_assert_num_queries(0, connection=connection):
        pass
