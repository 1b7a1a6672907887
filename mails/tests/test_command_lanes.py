"""`manage.py lanes` as a person and a program see it."""

import pytest

from mails import pauses
from mails.tests.builders import a_mail, drain
from mails.tests.commandline import run
from mercury.lib.commands import Exit

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_lane_is_paused_and_resumed(olympus):
    mail = a_mail()

    ran = run("lanes", "pause", "text", "--note", "wrong template", "--yes")
    assert (ran.code, drain()) == (Exit.DONE, 0)
    assert "1 mail waits in it, and stays" in ran.out
    assert "Resume it: manage.py lanes resume text" in ran.out
    assert "Queue text is paused since" in run("mail", str(mail.pk)).out
    assert "Queue text is paused since" in run("mails").out
    ran = run("lanes", "resume", "text", "--yes")

    assert "by command line. wrong template" in ran.out
    assert "1 mail waits, and goes out when due." in ran.out
    assert drain() == 1
    assert "paused" not in run("mails").out


def test_lanes_are_listed_with_or_without_the_word():
    a_mail()
    run("lanes", "pause", "bulk", "--note", "too many", "--yes")

    lines = run("lanes", "list", "--json").lines

    assert [one["lane"] for one in lines] == ["text", "html", "attachment", "bulk"]
    assert (lines[0]["state"], lines[0]["due"], lines[0]["paused_at"]) == ("runs", 1, None)
    assert (lines[3]["state"], lines[3]["paused_by"], lines[3]["paused_note"]) == ("paused", "command line", "too many")
    assert "too many" in run("lanes").out


def test_a_program_is_told_whether_it_changed_anything():
    def told(*words):
        return run("lanes", *words, "text", "--json").document

    assert told("resume", "--yes") == {"lane": "text", "state": "runs", "changed": False}
    assert told("pause", "--dry-run") == {"lane": "text", "state": "runs", "changed": False, "dry_run": True}
    assert pauses.standing() == {}
    assert told("pause", "--yes") == {"lane": "text", "state": "paused", "changed": True}
    assert told("pause", "--yes") == {"lane": "text", "state": "paused", "changed": False}
    assert told("resume", "--dry-run") == {"lane": "text", "state": "paused", "changed": False, "dry_run": True}
    assert told("resume", "--yes") == {"lane": "text", "state": "runs", "changed": True}


def test_a_lane_that_is_paused_already_keeps_its_reason():
    run("lanes", "pause", "text", "--note", "wrong template", "--yes")

    ran = run("lanes", "pause", "text", "--note", "lunch")  # nothing to ask

    assert ran.code == Exit.DONE
    assert "paused already, since" in ran.out
    assert "wrong template" in ran.out
    assert [one.note for one in pauses.standing().values()] == ["wrong template"]


@pytest.mark.parametrize("word", ["pause", "resume"])
def test_an_unknown_lane_is_wrong_use_and_the_known_ones_are_named(word):
    ran = run("lanes", word, "parcel", "--yes")

    assert ran.code == Exit.WRONG_USE
    assert "There is no lane 'parcel'. Known: text, html, attachment, bulk." in ran.error


def test_nothing_is_done_where_nobody_can_be_asked():
    ran = run("lanes", "pause", "text")

    assert (ran.code, pauses.standing()) == (Exit.WRONG_USE, {})
    assert "use --yes to confirm" in ran.error
