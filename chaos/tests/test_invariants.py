"""Each invariant finds its breach in records made up for it, and only its own."""

from dataclasses import replace

from chaos import invariants
from chaos.clients import ClientRecord, PlannedMail
from chaos.records import AttemptOnRecord, Delivery, EventOnRecord, MailOnRecord, Records

PLANNED = PlannedMail("key", "mail", "at-least-once")
CLIENT_RECORD = ClientRecord(PLANNED, 202, "a", asked=0, answered=1, tries=1)
SENT = (
    EventOnRecord(1, "NEW", 1, "Mail Service"),
    EventOnRecord(2, "SEND", 10, "olympus"),
    EventOnRecord(3, "DONE", 20, "olympus"),
)
ATTEMPT = AttemptOnRecord(1, "olympus", "accepted", "", opened=10, closed=20)
MAIL = MailOnRecord("a", "mail", "key", "done", "", False, False, SENT, (ATTEMPT,))
DELIVERY = Delivery("a", "mail", "olympus", at_ns=15)
AGAIN = (
    *SENT[:2],
    EventOnRecord(3, "UNKNOWN", 30, "Sweeper"),
    EventOnRecord(4, "SEND", 40, "hades"),
    EventOnRecord(5, "DONE", 50, "hades"),
)


def find_broken(*, client_records=(CLIENT_RECORD,), mails=(MAIL,), deliveries=(DELIVERY,), seen=None):
    """Return the numbers of the invariants that these records break."""
    seen = {mail.id: mail.status for mail in mails} if seen is None else seen
    breaches = invariants.judge(Records(client_records, {mail.id: mail for mail in mails}, deliveries, seen))
    return [number for number, found in enumerate(breaches.values(), start=1) if found]


def test_a_mail_that_was_sent_breaks_no_invariant():
    assert find_broken() == []


def test_an_acknowledged_mail_that_is_not_on_record_is_missing():
    assert find_broken(mails=(), deliveries=()) == [1]


def test_an_acknowledged_mail_that_the_api_does_not_know_is_missing():
    assert find_broken(seen={"a": ""}) == [1]


def test_a_refused_request_leaves_no_mail_to_miss():
    assert find_broken(client_records=(replace(CLIENT_RECORD, status=400, mail_id=""),), mails=(), deliveries=()) == []


def test_a_mail_that_the_api_shows_differently_than_the_database_has_not_ended():
    assert find_broken(seen={"a": "sending"}) == [2]


def test_a_mail_being_sent_has_not_ended_and_is_stuck():
    assert find_broken(mails=(replace(MAIL, status="sending", is_leased=True, events=SENT[:2]),)) == [2, 8]


def test_a_mail_that_waits_has_not_ended_and_is_stuck():
    assert find_broken(mails=(replace(MAIL, status="waiting", is_due=True, events=SENT[:2]),)) == [2, 8]


def test_a_held_mail_has_ended():
    assert find_broken(mails=(replace(MAIL, status="held", events=SENT[:2]),)) == []


def test_an_open_attempt_is_stuck():
    assert find_broken(mails=(replace(MAIL, attempts=(ATTEMPT, replace(ATTEMPT, number=2, state="open"))),)) == [8]


def test_a_done_mail_that_no_provider_accepted_is_found():
    assert find_broken(deliveries=()) == [3]


def test_a_mail_sent_twice_needs_an_unknown_outcome_on_record():
    twice = (DELIVERY, replace(DELIVERY, account="hades", at_ns=45))

    assert find_broken(deliveries=twice, mails=(replace(MAIL, events=AGAIN),)) == []
    assert find_broken(deliveries=twice) == [4]


def test_an_unknown_outcome_recorded_after_the_second_send_does_not_count():
    late = (
        *SENT[:2],
        EventOnRecord(3, "SEND", 40, "hades"),
        EventOnRecord(4, "UNKNOWN", 50, "Sweeper"),
        EventOnRecord(5, "DONE", 60, "hades"),
    )
    twice = (DELIVERY, replace(DELIVERY, account="hades", at_ns=45))

    assert find_broken(deliveries=twice, mails=(replace(MAIL, events=late),)) == [4]


THRICE = (DELIVERY, replace(DELIVERY, at_ns=45), replace(DELIVERY, at_ns=65))


def test_a_mail_sent_three_times_needs_two_unknown_outcomes_and_a_person():
    assert find_broken(deliveries=THRICE, mails=(replace(MAIL, events=AGAIN),)) == [4, 9]


def test_two_unknown_outcomes_do_not_allow_a_third_copy_automatically():
    uncertain = (
        *AGAIN[:4],
        EventOnRecord(5, "UNKNOWN", 50, "Dispatcher"),
        EventOnRecord(6, "SEND", 60, "hades"),
        EventOnRecord(7, "DONE", 70, "hades"),
    )
    resolved = (*uncertain[:5], EventOnRecord(8, "RESOLVED", 55, "hermes"), *uncertain[5:])

    assert find_broken(deliveries=THRICE, mails=(replace(MAIL, events=uncertain),)) == [9]
    assert find_broken(deliveries=THRICE, mails=(replace(MAIL, events=resolved),)) == []


def test_two_done_are_one_too_many():
    assert find_broken(mails=(replace(MAIL, events=(*SENT, EventOnRecord(4, "DONE", 30, "hades"))),)) == [5]


def test_done_without_an_accepted_attempt_is_found():
    assert find_broken(mails=(replace(MAIL, attempts=()),)) == [6]


def test_a_key_that_led_to_two_mails_is_caught_by_the_database_and_by_the_answers():
    twin = replace(MAIL, id="b")

    assert find_broken(mails=(MAIL, twin), deliveries=(DELIVERY, replace(DELIVERY, mail_id="b"))) == [7]
    assert find_broken(client_records=(CLIENT_RECORD, replace(CLIENT_RECORD, mail_id="b")), mails=(MAIL,)) == [1, 7]


def test_a_mail_that_arrives_with_the_subject_of_another_is_found():
    assert find_broken(deliveries=(replace(DELIVERY, subject="another"),)) == [10]
