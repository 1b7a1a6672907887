"""Each invariant finds its breach in records made up for it, and only its own."""

from dataclasses import replace

from chaos import invariants
from chaos.clients import Order, Told
from chaos.records import Attempt, Event, MailOnRecord, Records, Taking

ORDER = Order("key", "mail", "at-least-once")
TOLD = Told(ORDER, 202, "a", asked=0, answered=1, tries=1)
SENT = (Event(1, "NEW", 1, "Mail Service"), Event(2, "SEND", 10, "olympus"), Event(3, "DONE", 20, "olympus"))
ATTEMPT = Attempt(1, "olympus", "accepted", "", opened=10, closed=20)
MAIL = MailOnRecord("a", "mail", "key", "done", "", False, False, SENT, (ATTEMPT,))
TAKING = Taking("a", "mail", "olympus", at_ns=15)
AGAIN = (
    *SENT[:2],
    Event(3, "UNKNOWN", 30, "Sweeper"),
    Event(4, "SEND", 40, "hades"),
    Event(5, "DONE", 50, "hades"),
)


def broken(*, told=(TOLD,), mails=(MAIL,), taken=(TAKING,), seen=None):
    """The numbers of the invariants that these records break."""
    seen = {mail.id: mail.status for mail in mails} if seen is None else seen
    breaches = invariants.judge(Records(told, {mail.id: mail for mail in mails}, taken, seen))
    return [number for number, found in enumerate(breaches.values(), start=1) if found]


def test_a_mail_that_was_sent_breaks_no_invariant():
    assert broken() == []


def test_an_acknowledged_mail_that_is_not_on_record_is_missing():
    assert broken(mails=(), taken=()) == [1]


def test_an_acknowledged_mail_that_the_api_does_not_know_is_missing():
    assert broken(seen={"a": ""}) == [1]


def test_a_refused_request_leaves_no_mail_to_miss():
    assert broken(told=(replace(TOLD, status=400, mail_id=""),), mails=(), taken=()) == []


def test_a_mail_that_the_api_shows_otherwise_than_the_database_has_not_ended():
    assert broken(seen={"a": "sending"}) == [2]


def test_a_mail_in_hand_has_not_ended_and_is_stuck():
    assert broken(mails=(replace(MAIL, status="sending", is_leased=True, events=SENT[:2]),)) == [2, 8]


def test_a_mail_that_waits_has_not_ended_and_is_stuck():
    assert broken(mails=(replace(MAIL, status="waiting", is_due=True, events=SENT[:2]),)) == [2, 8]


def test_a_held_mail_has_ended():
    assert broken(mails=(replace(MAIL, status="held", events=SENT[:2]),)) == []


def test_an_open_attempt_is_stuck():
    assert broken(mails=(replace(MAIL, attempts=(ATTEMPT, replace(ATTEMPT, number=2, state="open"))),)) == [8]


def test_a_done_mail_that_nobody_took_is_a_lie():
    assert broken(taken=()) == [3]


def test_a_mail_taken_twice_needs_a_doubt_on_record():
    twice = (TAKING, replace(TAKING, account="hades", at_ns=45))

    assert broken(taken=twice, mails=(replace(MAIL, events=AGAIN),)) == []
    assert broken(taken=twice) == [4]


def test_a_doubt_that_was_recorded_after_the_second_send_is_none():
    late = (*SENT[:2], Event(3, "SEND", 40, "hades"), Event(4, "UNKNOWN", 50, "Sweeper"), Event(5, "DONE", 60, "hades"))
    twice = (TAKING, replace(TAKING, account="hades", at_ns=45))

    assert broken(taken=twice, mails=(replace(MAIL, events=late),)) == [4]


THRICE = (TAKING, replace(TAKING, at_ns=45), replace(TAKING, at_ns=65))


def test_a_mail_taken_three_times_needs_two_doubts_and_a_person():
    assert broken(taken=THRICE, mails=(replace(MAIL, events=AGAIN),)) == [4, 9]


def test_two_doubts_do_not_allow_a_third_copy_by_itself():
    doubted = (
        *AGAIN[:4],
        Event(5, "UNKNOWN", 50, "Dispatcher"),
        Event(6, "SEND", 60, "hades"),
        Event(7, "DONE", 70, "hades"),
    )
    settled = (*doubted[:5], Event(8, "RESOLVED", 55, "hermes"), *doubted[5:])

    assert broken(taken=THRICE, mails=(replace(MAIL, events=doubted),)) == [9]
    assert broken(taken=THRICE, mails=(replace(MAIL, events=settled),)) == []


def test_two_done_are_one_too_many():
    assert broken(mails=(replace(MAIL, events=(*SENT, Event(4, "DONE", 30, "hades"))),)) == [5]


def test_done_without_an_accepted_attempt_has_no_ground():
    assert broken(mails=(replace(MAIL, attempts=()),)) == [6]


def test_a_key_that_led_to_two_mails_is_caught_by_the_database_and_by_the_answers():
    twin = replace(MAIL, id="b")

    assert broken(mails=(MAIL, twin), taken=(TAKING, replace(TAKING, mail_id="b"))) == [7]
    assert broken(told=(TOLD, replace(TOLD, mail_id="b")), mails=(MAIL,)) == [1, 7]
