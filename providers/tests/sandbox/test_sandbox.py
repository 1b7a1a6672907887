"""The fake provider: what it keeps, and how it fails."""

import datetime as dt
import mailbox as standard_mailbox
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mercury.lib.runtime import event_loop
from providers.accounts.config import AccountConfig
from providers.outcomes import Accepted, NotAttempted, Unknown
from providers.sandbox import failure_modes, mailbox
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure
from providers.sandbox.mailbox import KeptMailNotFound
from providers.tests.support import accounts, tables
from providers.tests.support.builders import opened
from providers.tests.support.limits_of_this_process import no_thread_left
from providers.transports.building import Builder
from providers.transports.maildir import SandboxChannel

NOW = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)
LATER = NOW + dt.timedelta(minutes=1)


def _send(failure=None, *, now=NOW, deadline=0.05, message=None):
    async def scenario():
        with ThreadPoolExecutor(1) as pool:
            account = AccountConfig(name="olympus", kind="sandbox", options={"failure_mode": failure})
            return await SandboxChannel(account, pool=pool, builder=Builder(), deadline=deadline, now=lambda: now).send(
                message or accounts.mail()
            )

    return event_loop.run(scenario())


def _kept():
    return mailbox.load_page("olympus").mails


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("slow=3", FailureKind.SLOW, 3),
        ("slow", FailureKind.SLOW, 3),
        ("slow=0.5", FailureKind.SLOW, 0.5),
        ("refuse=429", FailureKind.REFUSE, 429),
        ("refuse", FailureKind.REFUSE, 503),
        ("hang", FailureKind.HANG, 0),
        (" lose ", FailureKind.LOSE, 0),
        ("flap=10", FailureKind.FLAP, 10),
    ],
)
def test_failure_modes_as_people_write_them(text, kind, value):
    assert failure_modes.parse_failure(text, until=LATER) == SimulatedFailure(kind=kind, value=value, until=LATER)


@pytest.mark.parametrize(
    "text",
    ["", "quick", "slow=soon", "slow=0", "slow=-1", "slow=1e9", "refuse=200", "refuse=9000", "hang=3", "slow=nan"],
)
def test_an_unknown_failure_mode_names_the_known_ones(text):
    with pytest.raises(ValueError, match=r"Known|needs|has no value"):
        failure_modes.parse_failure(text, until=LATER)


def test_a_failure_mode_ends_by_itself():
    failure = SimulatedFailure(kind=FailureKind.HANG, value=0, until=LATER)

    assert failure.is_active(NOW)
    assert not failure.is_active(LATER)


def test_flapping_is_well_and_ill_in_turn():
    failure = SimulatedFailure(kind=FailureKind.FLAP, value=10, until=LATER)

    acts = [failure.is_active(NOW + dt.timedelta(seconds=seconds)) for seconds in (0, 9, 10, 19, 20)]

    assert acts == [False, False, True, True, False]


@pytest.mark.parametrize(
    ("failure", "outcome", "kept"),
    [
        (None, "Accepted 250", 1),
        (SimulatedFailure(kind=FailureKind.SLOW, value=0.001, until=LATER), "Accepted 250", 1),
        (SimulatedFailure(kind=FailureKind.SLOW, value=3, until=LATER), "Unknown `read-timeout`", 0),
        (SimulatedFailure(kind=FailureKind.REFUSE, value=503, until=LATER), "Refused provider `http-503`", 0),
        (SimulatedFailure(kind=FailureKind.REFUSE, value=401, until=LATER), "Refused account `http-401`", 0),
        (SimulatedFailure(kind=FailureKind.REFUSE, value=429, until=LATER), "Refused rate `http-429` 30 s", 0),
        (SimulatedFailure(kind=FailureKind.REFUSE, value=500, until=LATER), "Unknown `http-500`", 0),
        (SimulatedFailure(kind=FailureKind.HANG, value=0, until=LATER), "Unknown `read-timeout`", 0),
        (SimulatedFailure(kind=FailureKind.LOSE, value=0, until=LATER), "Unknown `connection-lost`", 1),
        (SimulatedFailure(kind=FailureKind.FLAP, value=10, until=LATER), "Accepted 250", 1),
        (SimulatedFailure(kind=FailureKind.FLAP, value=11, until=LATER), "Refused provider `http-503`", 0),
        (SimulatedFailure(kind=FailureKind.HANG, value=0, until=NOW), "Accepted 250", 1),
    ],
    ids=str,
)
def test_the_outcome_of_each_failure_mode(failure, outcome, kept):
    assert tables.describe(_send(failure)) == outcome
    assert len(_kept()) == kept


def test_a_lost_answer_is_unknown_though_the_mail_arrived():
    outcome = _send(SimulatedFailure(kind=FailureKind.LOSE, value=0, until=LATER))

    assert isinstance(outcome, Unknown)
    assert _kept()[0].mail_id == accounts.MAIL_ID


def test_a_kept_mail_is_listed_and_read():
    outcome = _send(message=accounts.mail(subject="Grüße", body="Χαῖρε"))

    (kept,) = _kept()
    assert (kept.sender, kept.to, kept.subject) == ("zeus@olimpus.com", "hera@olimpus.com", "Grüße")
    assert mailbox.count_messages("olympus") == 1
    read = opened("olympus", outcome.provider_message_id)
    assert read.get_content().strip() == "Χαῖρε"
    assert read["Message-ID"] == f"<{accounts.MAIL_ID}@olimpus.com>"
    assert b"X-Mercury-ID" in mailbox.read_source("olympus", kept.key)


def test_any_mail_reader_opens_the_mailbox():
    _send()

    (message,) = standard_mailbox.Maildir(str(mailbox.get_folder("olympus")), create=False)

    assert message["Subject"] == "You made my day"


def test_a_mail_that_a_reader_has_seen_is_still_found():
    key = _send().provider_message_id
    new = mailbox.get_folder("olympus") / "new" / key
    new.rename(mailbox.get_folder("olympus") / "cur" / f"{key}:2,S")

    assert [kept.key for kept in _kept()] == [key]
    assert opened("olympus", key)["Subject"] == "You made my day"


def test_only_the_newest_are_kept(settings):
    settings.MERCURY_SANDBOX_KEEP = 2
    keys = [mailbox.store("olympus", b"Subject: hi\n\nhi") for _ in range(4)]

    mailbox.prune("olympus")

    assert [kept.key for kept in _kept()] == [keys[3], keys[2]]
    with pytest.raises(KeptMailNotFound):
        opened("olympus", keys[0])


def test_the_mailbox_stays_bounded_by_itself(settings):
    settings.MERCURY_SANDBOX_KEEP = 5

    for _ in range(60):
        mailbox.store("olympus", b"Subject: hi\n\nhi")

    assert mailbox.count_messages("olympus") < 30


def subjects(**where):
    return [kept.subject for kept in mailbox.load_page("olympus", size=2, **where).mails]


def test_pages_go_to_older_mails_and_back():
    for number in range(5):
        mailbox.store("olympus", f"Subject: {number}\n\nhi".encode())

    first = mailbox.load_page("olympus", size=2)
    second = mailbox.load_page("olympus", size=2, before=first.older)
    third = mailbox.load_page("olympus", size=2, before=second.older)
    back = mailbox.load_page("olympus", size=2, after=second.newer)

    assert [kept.subject for kept in [*first.mails, *second.mails, *third.mails]] == ["4", "3", "2", "1", "0"]
    assert back.mails == first.mails
    assert (first.newer, third.older, back.newer) == ("", "", "")


def test_search_takes_every_word_anywhere_in_the_heading():
    mailbox.store(
        "olympus", b"From: zeus@olimpus.com\nTo: hera@olimpus.com\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\n\nhi"
    )
    mailbox.store("olympus", f"To: iris@olimpus.com\nSubject: hi\nX-Mercury-ID: {accounts.MAIL_ID}\n\nhera".encode())

    assert subjects(words="hera ZEUS") == ["Grüße"]
    assert subjects(words="grüße") == ["Grüße"]
    assert subjects(words=accounts.MAIL_ID[:8]) == ["hi"]
    assert subjects(words="hera iris") == []


@pytest.mark.parametrize("header", ["../../admin", "", "\xff", "1"])
def test_an_id_that_is_none_of_ours_leads_to_no_mail(header):
    mailbox.store("olympus", f"X-Mercury-ID: {header}\n\nhi".encode("latin-1"))

    assert mailbox.load_page("olympus").mails[0].mail_id == ""


def test_a_mail_that_another_program_put_there_is_dated_by_its_file():
    mailbox.store("olympus", b"Subject: hi\n\nhi")
    (mailbox.get_folder("olympus") / "new" / "1795543646.M1.host").write_bytes(b"Subject: copied\n\nhi")

    assert all(kept.received_at.year > 2025 for kept in mailbox.load_page("olympus").mails)


def test_clearing_says_how_many_there_were():
    _send()
    _send()

    assert (mailbox.clear("olympus"), mailbox.clear("olympus"), _kept()) == (2, 0, [])


@pytest.mark.parametrize("account", ["../secret", "", "a/b", "Olympus"])
def test_an_account_name_leads_nowhere_else(account):
    with pytest.raises(ValueError, match="is not an account name"):
        mailbox.get_folder(account)


@pytest.mark.parametrize("key", ["../../secret-key", "", "nobody"])
def test_a_key_leads_to_kept_mails_only(key):
    _send()

    with pytest.raises(KeptMailNotFound):
        mailbox.read_source("olympus", key)


def test_a_mail_that_cannot_be_written_is_refused():
    assert tables.describe(_send(message=accounts.mail(subject="two\nlines"))) == "Not attempted message `unsupported`"


def test_accepted_names_the_kept_mail():
    outcome = _send()

    assert isinstance(outcome, Accepted)
    assert outcome.provider_message_id == _kept()[0].key


def test_a_mailbox_that_somebody_else_is_about_to_make_takes_the_mail():
    (mailbox.get_folder("olympus") / "tmp").mkdir(parents=True)

    assert isinstance(_send(), Accepted)
    assert len(_kept()) == 1


def test_a_mailbox_that_cannot_be_written_is_a_refusal(settings, tmp_path):
    (tmp_path / "file").write_text("no folder")
    settings.MERCURY_DATA = tmp_path / "file"

    assert tables.describe(_send()) == "Not attempted local `mailbox-unwritable`"


def test_an_email_that_no_thread_could_be_started_for_is_not_kept_by_another_thread_later():
    async def scenario():
        busy = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            pool.submit(busy.wait, 20)
            channel = SandboxChannel(
                AccountConfig(name="olympus", kind="sandbox", options={}), pool=pool, builder=Builder(), deadline=20
            )
            with no_thread_left():
                outcome = await channel.send(accounts.mail())
            busy.set()
        return outcome

    outcome = event_loop.run(scenario())

    assert isinstance(outcome, NotAttempted)
    assert outcome.reason_code == "no-threads"
    assert not _kept()
