"""A paused lane on real rows: its mails are taken and kept, whatever stands before the pause, and leave after it."""

from functools import partial

import pytest

from mails import house, pauses
from mails.actions import apply
from mails.dispatch import claim, wake
from mails.dispatch.dispatcher import Drain
from mails.dispatch.transitions import Result
from mails.lanes import Lane
from mails.lifecycle import writer
from mails.lifecycle.action_requests import Order
from mails.models import LanePause, Mail
from mails.pauses import UnknownLane
from mails.states import Action, Status
from mails.tests.builders import a_mail, drain, event_names, reloaded
from providers.outcomes import Accepted, FailureClass, Refused

pytestmark = pytest.mark.django_db(transaction=True)

ACCEPTED = Accepted("id-1", 250)
REFUSED = Refused(FailureClass.PROVIDER, "http-503", "Come back later.", 503)


def in_lane(lane):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(lane=lane)
    return mail


def answer(drain, calls, outcome):
    return drain._close([Result(call, outcome, 0.1) for call in calls]).calls


def test_mails_of_a_paused_lane_are_taken_and_leave_when_it_is_resumed(olympus):
    assert apply.pause_lane(Lane.TEXT, by="user:hermes", note="wrong template")
    mail = a_mail()

    assert drain() == 0
    assert event_names(mail) == ["NEW", "ACCEPTED", "ENQUEUE"]
    assert olympus.inbox() == []

    assert apply.resume_lane(Lane.TEXT, by="user:hermes")
    assert drain() == 1
    assert reloaded(mail).status == Status.DONE


def test_other_lanes_go_on(olympus):
    stays, goes = in_lane("bulk"), in_lane("html")
    apply.pause_lane(Lane.BULK, by="hermes")

    assert drain("bulk", "html", "text") == 1

    assert [reloaded(mail).status for mail in (stays, goes)] == [Status.QUEUED, Status.DONE]


def test_a_pause_keeps_who_when_and_why_and_so_does_its_end():
    assert apply.pause_lane(Lane.BULK, by="user:hermes", note="wrong template")
    assert not apply.pause_lane(Lane.BULK, by="user:zeus")
    pause = pauses.standing()["bulk"]
    assert (pause.who, pause.note, str(pause)) == ("hermes", "wrong template", "bulk paused by user:hermes")

    assert apply.resume_lane(Lane.BULK, by="user:zeus")
    assert not apply.resume_lane(Lane.BULK, by="user:hermes")

    [row] = LanePause.objects.all()
    assert (row.resumed_by, row.resumed_at >= row.paused_at) == ("user:zeus", True)
    assert pauses.standing() == {}


def test_to_resume_a_lane_wakes_its_workers(monkeypatch):
    woken = []
    monkeypatch.setattr(wake, "wake_workers", woken.append)
    apply.pause_lane(Lane.BULK, by="hermes")
    assert woken == []

    apply.resume_lane(Lane.BULK, by="hermes")
    apply.resume_lane(Lane.TEXT, by="hermes")

    assert woken == ["bulk"]


def test_a_mail_found_before_the_lane_was_paused_stays_where_it_is(olympus, monkeypatch):
    mail = a_mail()
    due = claim.due

    def then_pause(*arguments, **options):
        found = due(*arguments, **options)
        pauses.place(Lane.TEXT, by="hermes")
        return found

    monkeypatch.setattr(claim, "due", then_pause)

    assert Drain(["text"], places=8)._take(8).calls == []

    assert (reloaded(mail).status, mail.attempts.count()) == (Status.QUEUED, 0)


@pytest.mark.parametrize(
    ("stop", "go_on"),
    [(partial(pauses.place, Lane.TEXT), partial(pauses.lift, Lane.TEXT)), (house.place, house.lift)],
    ids=["lane", "house"],
)
def test_a_mail_that_a_stop_of_a_moment_kept_back_is_not_taken_for_poison(stop, go_on, olympus, monkeypatch):
    mail = a_mail()
    record = writer.record

    def in_between(steps):
        stop(by="hermes")
        won = record(steps)
        go_on(by="hermes")
        return won

    with monkeypatch.context() as patched:
        patched.setattr(writer, "record", in_between)
        assert Drain(["text"], places=8)._take(8).calls == []

    assert reloaded(mail).status == Status.QUEUED
    assert drain() == 1


def test_a_call_under_way_ends_and_is_recorded(olympus):
    mail = a_mail()
    drain = Drain(["text"], places=8)
    calls = drain._take(8).calls
    pauses.place(Lane.TEXT, by="hermes")

    answer(drain, calls, ACCEPTED)

    assert (reloaded(mail).status, event_names(mail)[-1]) == (Status.DONE, "DONE")


def test_a_mail_refused_while_its_lane_is_paused_waits_for_the_next_account(olympus, hades):
    mail = a_mail()
    running = Drain(["text"], places=8)
    calls = running._take(8).calls
    pauses.place(Lane.TEXT, by="hermes")

    assert answer(running, calls, REFUSED) == []

    assert reloaded(mail).status == Status.QUEUED
    assert event_names(mail)[-2:] == ["FAILURE", "RETRY"]
    pauses.lift(Lane.TEXT, by="hermes")
    assert drain() == 1
    assert mail.attempts.count() == 2


def test_a_mail_at_its_last_chance_waits_too(olympus):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(claims=1)
    pauses.place(Lane.TEXT, by="hermes")

    assert drain() == 0

    assert reloaded(mail).status == Status.QUEUED


def test_an_order_says_that_its_mail_waits_for_the_lane(olympus):
    mail = a_mail()
    apply.act(mail.pk, Order(Action.HOLD, "hermes"))
    pauses.place(Lane.TEXT, by="hermes")
    held = reloaded(mail)

    [cause] = apply.survey(Action.RELEASE, Mail.objects.all()).causes

    assert cause.forecast == "waits until lane text is resumed"
    assert "Lane text is paused: it waits until the lane is resumed." in apply.prospect(held, Action.RELEASE)


def test_what_a_pause_keeps_and_an_end_lets_go_is_told(olympus):
    assert apply.kept_by(Lane.TEXT) == "0 mails wait in it, and stay; 0 calls are under way, and end."
    a_mail(subject="first")
    Drain(["text"], places=8)._take(8)
    a_mail(subject="second")

    assert apply.kept_by(Lane.TEXT) == "1 mail waits in it, and stays; 1 call is under way, and ends."
    assert apply.let_go_by(Lane.TEXT) == "1 mail waits, and goes out when due."
    assert apply.let_go_by(Lane.BULK) == "0 mails wait, and go out when due."


def test_an_unknown_lane_is_named_with_the_known_ones():
    with pytest.raises(UnknownLane, match=r"There is no lane 'parcel'\. Known: text, html, attachment, bulk\."):
        pauses.lane("parcel")
