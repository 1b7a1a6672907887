"""Retention removes old bodies, later the emails; what has not ended stays, and each batch commits on its own."""

import datetime as dt
import time
import uuid

import pytest
from django.db import DatabaseError, connection, transaction
from django.test import Client
from django.utils import timezone

from mails.actions import apply
from mails.actions.errors import ActionNotAllowed
from mails.lifecycle import writer
from mails.lifecycle.action_requests import ActionRequest
from mails.lifecycle.values import Step, read_state
from mails.maintenance import old_rows, partitions, retention, scheduler
from mails.maintenance.periodic_thread import Beat
from mails.maintenance.retention import RemovedCounts
from mails.maintenance.scheduler import Scheduler, run_tasks
from mails.models import Attempt, Content, Event, IdempotencyKey, Mail, MailLabel, PeriodicTask, Recipient, first_id
from mails.states import FINAL, Action, Status
from mails.tests.builders import a_mail, dispatch, reloaded
from mails.tests.commandline import run
from mercury.lib.commands import ExitCode
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)

DAY = dt.timedelta(days=1)
BODIES, MAILS = 30 * DAY, 365 * DAY
_TABLES = (
    "mails_content",
    "mails_recipient",
    "mails_attempt",
    "mails_maillabel",
    "mails_mailfile",
    "mails_idempotencykey",
)


def aged(mail: Mail, days: int, *, finished: int | None = None, status: str = "") -> Mail:
    """Return the email as if it had come in `days` ago, and (without `ended`) ended in the same moment."""
    born = database_clock.now() - days * DAY
    ended = born if finished is None else database_clock.now() - finished * DAY
    old = Mail.objects.get(pk=mail.pk)
    old.pk = uuid.UUID(int=first_id(born).int + mail.pk.int % 2**60)
    old.created_at, old.status = born, status or mail.status
    old.finished_at = ended if old.status in FINAL else None
    old.next_attempt_at = None
    old.save(force_insert=True)
    moved = [old.pk.hex if connection.vendor == "sqlite" else str(old.pk), mail.pk.hex]
    with connection.cursor() as cursor:
        for table in _TABLES:
            cursor.execute(f"UPDATE {table} SET mail_id = %s WHERE mail_id = %s", moved)
    Event.objects.create(
        mail=old, created_at=int(born.timestamp() + 60) * 10**9, created_by="zeus", event="NOTE", blob="kept"
    )
    return old


def a_sent_mail(days: int, *, finished: int | None = None) -> Mail:
    mail = a_mail()
    dispatch()
    return aged(reloaded(mail), days, finished=finished)


def remove() -> RemovedCounts:
    return sum(retention.run(BODIES, MAILS), RemovedCounts())


def guard_refuses() -> bool:
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM mails_event")
    except DatabaseError as error:
        return "append-only" in str(error)
    return False


def test_an_old_text_goes_and_the_timeline_stays(olympus):
    mail, young = a_sent_mail(31), a_sent_mail(29)

    removed = remove()

    assert (removed.texts, removed.text_bytes, removed.mails) == (1, mail.size, 0)
    assert reloaded(mail).text_removed_at is not None
    assert [content.mail_id for content in Content.objects.filter(pk__in=[mail.pk, young.pk])] == [young.pk]
    assert mail.events.count() == 1
    assert (mail.recipients.count(), mail.attempts.count()) == (1, 1)
    assert reloaded(young).text_removed_at is None
    assert remove() == RemovedCounts()


def test_an_old_mail_goes_with_all_that_is_its_own(olympus):
    mail, young = a_sent_mail(366), a_sent_mail(364)

    removed = remove()

    assert (removed.texts, removed.mails) == (2, 1)
    assert removed.rows == 3 + (connection.vendor == "sqlite")
    assert not Mail.objects.filter(pk=mail.pk).exists()
    for part in (Content, Recipient, Attempt):
        assert not part.objects.filter(mail_id=mail.pk).exists()
    assert Mail.objects.filter(pk=young.pk).exists()
    assert young.events.count() == 1


@pytest.mark.parametrize("status", [Status.HELD, Status.QUEUED, Status.WAITING])
def test_a_mail_that_has_not_ended_stays_however_old_it_is(status):
    mail = a_mail()
    aged_mail = Mail.objects.get(pk=mail.pk)
    aged_mail.pk = uuid.UUID(int=first_id(database_clock.now() - 400 * DAY).int + 1)
    aged_mail.status = status
    aged_mail.save(force_insert=True)
    Content.objects.create(mail=aged_mail, text="Hi")

    assert remove() == RemovedCounts()

    assert reloaded(aged_mail).content.text == "Hi"


def test_the_age_counts_from_the_end_not_from_the_beginning(olympus):
    mail = a_sent_mail(400, finished=10)

    assert remove() == RemovedCounts()

    assert Content.objects.filter(pk=mail.pk).exists()


def test_what_breaks_off_between_batches_has_lost_nothing_and_goes_on(olympus, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 2)
    mails = [a_sent_mail(40 + number) for number in range(5)]
    kept = a_sent_mail(3)

    broken = retention.run(BODIES, MAILS)
    next(broken)
    broken.close()

    assert Content.objects.filter(pk__in=[mail.pk for mail in mails]).count() == 3
    assert Mail.objects.filter(pk__in=[mail.pk for mail in mails], text_removed_at__isnull=True).count() == 3
    assert remove().texts == 3
    assert Content.objects.filter(pk=kept.pk).exists()


def test_a_batch_that_fails_is_undone_and_the_guard_is_back(olympus, monkeypatch):
    mail = a_sent_mail(400)

    def fails(ids):
        raise RuntimeError("the power is gone")

    monkeypatch.setattr(retention, "_delete", fails)
    with pytest.raises(RuntimeError):
        remove()

    assert mail.events.count() == 1
    assert (mail.recipients.count(), mail.attempts.count()) == (1, 1)
    assert guard_refuses()


def test_the_guard_of_the_events_is_back_afterwards(olympus):
    a_sent_mail(400)
    kept = a_sent_mail(3)

    remove()

    assert guard_refuses()
    assert list(kept.events.values_list("event", "blob")) == [("NOTE", "kept")]


def test_a_mail_without_its_body_is_never_sent_again(olympus):
    mail = aged(a_mail(), 31, status=Status.DISCARDED)
    before = reloaded(mail)
    remove()

    with pytest.raises(
        ActionNotAllowed, match=r"its body was deleted on .* cannot be reprocessed\. Possible actions now: none"
    ):
        apply.apply_action(mail.pk, ActionRequest(action=Action.REPROCESS, by="zeus"))
    queued = read_state(before)._replace(status=Status.QUEUED, finished_at=None, next_attempt_at=database_clock.now())
    step = Step(mail_id=mail.pk, before=Status.DISCARDED, fence=None, after=queued, attempts=before.attempt_count)

    assert writer.record([step]) == set()  # as of a person who asked just before the text went
    assert reloaded(mail).status == Status.DISCARDED


def test_commands_leave_a_mail_without_its_text_out_and_say_why(olympus):
    mail = aged(a_mail(), 31, status=Status.DISCARDED)
    remove()

    ran = run("reprocess", str(mail.pk), "--yes")

    assert ran.code == ExitCode.FAILED
    assert "1 skipped: discarded, and its body was deleted on" in ran.out
    assert "Body     deleted on" in run("mail", str(mail.pk)).out
    assert "The body was deleted on" in run("mail", str(mail.pk), "--raw").error


def test_the_page_of_a_mail_says_when_its_text_went(olympus, admin_user):
    mail = a_sent_mail(31)
    remove()
    client = Client()
    client.force_login(admin_user)

    for page in (f"/mails/{mail.pk}", f"/admin/mails/mail/{mail.pk}/change/"):
        shown = client.get(page).content.decode()
        assert "The body was removed by retention on" in shown
        assert "message.eml" not in shown
    assert client.get(f"/mails/{mail.pk}/message.eml").status_code == 404


def test_tags_and_metadata_go_with_the_email(olympus):
    mail = aged(a_mail(tags=["crown"], metadata={"order": "17"}), 366, status="cancelled")

    removed = remove()

    assert not Mail.objects.filter(pk=mail.pk).exists()
    assert not MailLabel.objects.exists()
    assert removed.rows == 4 + (
        connection.vendor == "sqlite"
    )  # email, recipient, two labels; an event has a row of its own


def test_a_dry_run_tells_rows_and_bytes_and_changes_nothing(olympus):
    mail = a_sent_mail(400)

    ran = run("retention", "--dry-run", "--json")

    assert ran.document["dry_run"]
    assert (ran.document["texts"], ran.document["text_bytes"], ran.document["mails"]) == (1, mail.size, 1)
    assert ran.document["rows"] == 3 + (connection.vendor == "sqlite")
    assert Content.objects.filter(pk=mail.pk).exists()


def test_the_command_removes_what_the_dry_run_counted(olympus):
    a_sent_mail(400)
    document = run("retention", "--dry-run", "--json").document

    ran = run("retention", "--bodies", "30d", "--mails", "365d", "--yes", "--json")

    assert {name: ran.document[name] for name in ("texts", "text_bytes", "mails", "rows")} == {
        name: document[name] for name in ("texts", "text_bytes", "mails", "rows")
    }
    assert "Nothing is past its retention period" in run("retention", "--yes").out


def test_nothing_goes_without_a_yes(olympus):
    mail = a_sent_mail(400)

    assert run("retention").code == ExitCode.USAGE_ERROR

    assert Content.objects.filter(pk=mail.pk).exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--bodies", "1d", "--mails", "1d"), "at least 2d"),
        (("--bodies", "9d", "--mails", "8d"), "as long as bodies"),
    ],
)
def test_ages_that_cannot_be_are_wrong_use(options, words):
    ran = run("retention", *options, "--yes")

    assert ran.code == ExitCode.USAGE_ERROR
    assert words in ran.error


def test_an_idempotency_key_never_leads_to_a_mail_that_is_gone(olympus):
    mail = a_sent_mail(400)
    key = IdempotencyKey.objects.create(
        owner="key:1", key="k", body_hash="", mail=mail, created_at=timezone.now() - 400 * DAY
    )
    remove()

    old_rows.remove(seconds=1.0)

    assert not IdempotencyKey.objects.filter(pk=key.pk).exists()


def test_the_task_continues_with_later_heartbeats_and_rests_for_an_hour(olympus, monkeypatch):
    monkeypatch.setattr(retention, "BATCH", 1)
    monkeypatch.setattr(scheduler, "SLICE", 0.0)
    mails = [a_sent_mail(40 + number) for number in range(2)]
    left = Content.objects.filter(pk__in=[mail.pk for mail in mails])
    tasks = {retention.TASK: Scheduler(wake=lambda: None).tasks[retention.TASK]}
    beat = Beat(worker="worker", at=time.monotonic())
    for _ in range(2):  # the first makes the row
        run_tasks(tasks, beat)
    monkeypatch.setattr(scheduler, "SLICE", 60.0)

    assert left.count() == 2
    run_tasks(tasks, beat)

    assert left.count() == 0
    done_until = PeriodicTask.objects.get(name=retention.TASK).done_until
    late = a_sent_mail(50)
    run_tasks(tasks, beat)
    assert Content.objects.filter(pk=late.pk).exists()
    assert PeriodicTask.objects.get(name=retention.TASK).done_until == done_until


def test_two_runs_at_once_delete_each_email_once(olympus, monkeypatch):
    """A leader that is slow loses its lease, and another one begins."""
    monkeypatch.setattr(retention, "BATCH", 2)
    mails = [a_sent_mail(400 + number) for number in range(5)]
    kept = a_sent_mail(3)

    slow = retention.run(BODIES, MAILS)
    first = next(slow)
    second = remove()
    rest = sum(slow, RemovedCounts())

    assert first.mails + second.mails + rest.mails == 5
    assert not Mail.objects.filter(pk__in=[mail.pk for mail in mails]).exists()
    assert Content.objects.filter(pk=kept.pk).exists()
    assert guard_refuses()


@pytest.mark.full
def test_a_month_goes_once_its_mails_are_gone_and_keeps_the_events_of_one_that_is_held(olympus):
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one table")
    mail = a_sent_mail(420)
    held = aged(a_mail(), 420, status=Status.HELD)
    partitions.prepare(database_clock.now())

    removed = remove()

    assert (removed.mails, removed.months) == (1, 1)
    assert not Event.objects.filter(mail_id=mail.pk).exists()
    assert list(held.events.values_list("event", "blob")) == [("NOTE", "kept")]


def test_old_mails_and_texts_are_found_along_the_primary_key():
    bound = first_id(database_clock.now() - MAILS)
    for model in (Mail, Content):
        page = model.objects.order_by("pk").filter(pk__lt=bound, pk__gt=uuid.UUID(int=0)).values_list("pk")[:500]
        with transaction.atomic(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SET LOCAL enable_seqscan = off")  # a table of a few rows is read whole otherwise
            plan = page.explain()

        assert "INDEX" in plan.upper()
        assert "Seq Scan" not in plan
