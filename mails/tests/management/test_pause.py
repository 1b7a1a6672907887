"""`manage.py pause`, `resume` and `queues` as a person and a program see them."""

import pytest

from mails import pauses
from mails.tests.builders import a_mail, dispatch
from mails.tests.commandline import run
from mercury.lib.commands import ExitCode

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_queue_is_paused_and_resumed(olympus):
    mail = a_mail()

    ran = run("pause", "--queue", "text", "--note", "wrong template", "--yes")
    assert (ran.code, dispatch()) == (ExitCode.DONE, 0)
    assert "1 email queued (it will wait)" in ran.out
    assert "Queue text is paused. To resume: manage.py resume --queue text" in ran.out
    assert "Queue text is paused since" in run("mail", str(mail.pk)).out
    assert "Queue text is paused since" in run("mails").out
    ran = run("resume", "--queue", "text", "--yes")

    assert "by command line. wrong template" in ran.out
    assert "1 queued email will be sent when due." in ran.out
    assert "Queue text is resumed." in ran.out
    assert dispatch() == 1
    assert "paused" not in run("mails").out


def test_all_sending_is_paused_and_resumed(olympus):
    mail = a_mail()

    assert run("pause", "--all", "--dry-run").code == ExitCode.DONE
    assert not pauses.load_active()
    ran = run("pause", "--all", "--note", "wrong template", "--yes")
    assert "Sending is paused. To resume: manage.py resume --all" in ran.out
    assert dispatch() == 0
    assert "Sending is paused since" in run("mails").out
    assert "Sending is paused since" in run("mail", str(mail.pk)).out
    ran = run("resume", "--all", "--yes")

    assert "wrong template" in ran.out
    assert "1 queued email will be sent when due." in ran.out
    assert "Sending is resumed." in ran.out
    assert dispatch() == 1
    assert "paused" not in run("mails").out


def test_resuming_all_sending_leaves_a_queue_paused_that_was_paused_by_name(olympus):
    a_mail()
    run("pause", "--queue", "text", "--yes")
    run("pause", "--all", "--yes")

    assert run("resume", "--all", "--yes").code == ExitCode.DONE

    assert dispatch() == 0
    assert pauses.load_active().queues.keys() == {"text"}


def test_queues_lists_what_waits_and_what_is_paused():
    a_mail()
    run("pause", "--queue", "bulk", "--note", "too many", "--yes")

    rows = run("queues", "--json").lines

    assert [row["queue"] for row in rows] == ["text", "html", "attachment", "large", "bulk"]
    text, bulk = rows[0], rows[4]
    assert (text["state"], text["waiting"], text["in_progress"], text["paused_at"]) == ("running", 1, 0, None)
    assert text["oldest"] >= 0
    assert (bulk["state"], bulk["paused_by"], bulk["paused_note"]) == ("paused", "command line", "too many")
    assert "too many" in run("queues").out


def test_queues_shows_every_queue_as_paused_while_all_sending_is():
    run("pause", "--all", "--yes")

    assert {row["state"] for row in run("queues", "--json").lines} == {"paused"}
    assert run("queues").out.startswith("Sending is paused since")


@pytest.mark.parametrize(("scope", "queue"), [(["--queue", "text"], "text"), (["--all"], None)], ids=["queue", "all"])
def test_a_program_reads_the_state_and_whether_it_changed(scope, queue):
    def answer(verb, option):
        return run(verb, *scope, option, "--json").document

    assert answer("resume", "--yes") == {"queue": queue, "state": "running", "changed": False}
    assert answer("pause", "--dry-run") == {"queue": queue, "state": "running", "changed": False, "dry_run": True}
    assert not pauses.load_active()
    assert answer("pause", "--yes") == {"queue": queue, "state": "paused", "changed": True}
    assert answer("pause", "--yes") == {"queue": queue, "state": "paused", "changed": False}
    assert answer("resume", "--dry-run") == {"queue": queue, "state": "paused", "changed": False, "dry_run": True}
    assert answer("resume", "--yes") == {"queue": queue, "state": "running", "changed": True}


def test_a_queue_that_is_already_paused_keeps_its_reason():
    run("pause", "--queue", "text", "--note", "wrong template", "--yes")

    ran = run("pause", "--queue", "text", "--note", "lunch")  # nothing to ask

    assert ran.code == ExitCode.DONE
    assert "Queue text is already paused, since" in ran.out
    assert "wrong template" in ran.out
    assert [pause.note for pause in pauses.load_active().queues.values()] == ["wrong template"]


@pytest.mark.parametrize("verb", ["pause", "resume"])
@pytest.mark.parametrize(
    ("options", "error"),
    [
        (["--queue", "parcel"], "There is no queue 'parcel'. Known: text, html, attachment, large, bulk."),
        ([], ": --queue NAME (text, html, attachment, large, bulk), or --all for all sending."),
    ],
    ids=["unknown", "no option"],
)
def test_a_usage_error_is_explained(verb, options, error):
    ran = run(verb, *options, "--yes")

    assert ran.code == ExitCode.USAGE_ERROR
    assert error in ran.error
    assert not pauses.load_active()


@pytest.mark.parametrize(
    ("options", "error"),
    [(["--queue", "text", "--all"], "not allowed with argument"), (["--queue", " "], "it is blank")],
    ids=["both", "blank"],
)
def test_a_scope_that_is_not_clear_pauses_nothing(options, error):
    ran = run("pause", *options, "--yes")

    assert ran.code
    assert error in ran.error
    assert not pauses.load_active()


@pytest.mark.parametrize(
    ("scope", "forecast"),
    [
        (["--all"], "This stops all sending."),
        (["--queue", "text"], "This stops sending from queue text."),
    ],
)
def test_what_nobody_confirms_does_not_read_as_done(scope, forecast):
    ran = run("pause", *scope)

    assert ran.code == ExitCode.USAGE_ERROR
    assert "use --yes to confirm" in ran.error
    assert ran.out.startswith(forecast)
    assert not pauses.load_active()


def test_who_paused_is_shown_as_a_person():
    pauses.pause(by="user:hermes", note="wrong template")

    assert "UTC by hermes. wrong template" in run("resume", "--all", "--dry-run").out
    assert "UTC by hermes: nothing is sent" in run("mails").out
