"""What answers mean, beyond the lines of the table in docs/providers.md that `transports.test_http` calls for."""

import datetime as dt
import errno
import socket

import pytest

from providers import classify
from providers.outcomes import Cause, FailureClass, QuotaPeriod, Refused, Unknown, UsedUpQuota
from providers.reply_words import Topic
from providers.tests.support import tables

NOW = dt.datetime(2026, 11, 24, 13, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize("status", [100, 408, 500, 501, 502, 504, 505, 507, 511, *range(520, 528), 599, 999])
def test_these_leave_a_doubt(status):
    assert isinstance(classify.judge_status(status, "", now=NOW), Unknown)


@pytest.mark.parametrize("status", [*range(300, 309), *(s for s in range(400, 500) if s != 408), 503])
def test_these_are_surely_not_sent(status):
    assert isinstance(classify.judge_status(status, "", now=NOW), Refused)


@pytest.mark.parametrize(
    ("failure_class", "statuses"),
    [
        (FailureClass.ACCOUNT, [401, 402, 403, 404, 405, 406, 407, 410, 411, 414, 415, 431, 451]),
        (FailureClass.MESSAGE, [400, 413, 422, 499]),
        (FailureClass.PROVIDER, [301, 302, 307, 409, 421, 423, 425, 503]),
        (FailureClass.RATE, [429]),
    ],
)
def test_failure_class_of_each_status(failure_class, statuses):
    for status in statuses:
        outcome = classify.judge_status(status, "", now=NOW)
        assert isinstance(outcome, Refused)
        assert outcome.failure_class is failure_class


@pytest.mark.parametrize(
    ("words", "failure_class"),
    [
        ("Sender address rejected", FailureClass.ACCOUNT),
        ("The sender is not known here", FailureClass.ACCOUNT),
        ("Internal error", FailureClass.PROVIDER),
        ("Please correct the address and try again", FailureClass.MESSAGE),
    ],
)
def test_a_400_ends_an_email_only_where_its_words_are_about_nothing_else(words, failure_class):
    outcome = classify.judge_status(400, words, now=NOW)

    assert isinstance(outcome, Refused)
    assert outcome.failure_class is failure_class


@pytest.mark.parametrize(
    ("status", "words", "topic", "failure_class"),
    [
        (400, "Invalid request", Topic.QUOTA, FailureClass.ACCOUNT),
        (422, "The sender is not known here", Topic.CONTENT, FailureClass.MESSAGE),
        (422, "Unavailable", Topic.RATE, FailureClass.RATE),
        (422, "Maintenance", Topic.SYSTEM, FailureClass.PROVIDER),
        (404, "No such stream", Topic.OPTIONS, FailureClass.ACCOUNT),
        (429, "Slow down", Topic.QUOTA, FailureClass.ACCOUNT),
        (429, "You have reached your daily email sending quota.", None, FailureClass.ACCOUNT),
        (429, "Too many requests", None, FailureClass.RATE),
    ],
)
def test_a_code_of_the_provider_says_more_than_its_words(status, words, topic, failure_class):
    outcome = classify.judge_status(status, words, topic=topic, now=NOW)

    assert isinstance(outcome, Refused)
    assert outcome.failure_class is failure_class


def test_a_repeated_request_may_have_been_accepted_before():
    assert isinstance(classify.judge_status(409, "In progress", topic=Topic.REPEATED, now=NOW), Unknown)


@pytest.mark.parametrize(("asked", "seconds"), [(None, 5.0), ("12", 12.0)])
def test_an_earlier_request_in_progress_is_waited_for_and_the_account_need_not_rest(asked, seconds):
    outcome = classify.judge_status(409, "Busy", topic=Topic.IN_PROGRESS, retry_after=asked, now=NOW)

    assert isinstance(outcome, Refused)
    assert (outcome.failure_class, outcome.repeat_in, outcome.retry_after) == (FailureClass.RATE, seconds, None)


def test_only_the_500_can_be_trusted():
    assert isinstance(classify.judge_status(500, "", trust_500=True, now=NOW), Refused)
    assert isinstance(classify.judge_status(502, "", trust_500=True, now=NOW), Unknown)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("1", 1),
        (" 120 ", 120),
        ("900", 900),
        ("901", 900),
        ("9" * 400, 900),
        ("0", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("", None),
        (None, None),
        ("soon", None),
        ("Tue, 24 Nov 2026 13:05:00 GMT", 300),
        ("Tue, 24 Nov 2026 13:05:00 -0000", 300),
        ("Tue, 24 Nov 2026 12:00:00 GMT", None),
        ("Tue, 24 Nov 9999 12:00:00 GMT", 900),
        ("Tue, 99 Nov 2026 12:00:00 GMT", None),
        (str(int(NOW.timestamp()) + 300), 300),
        (str(int(NOW.timestamp()) - 300), None),
    ],
)
def test_how_long_an_answer_asks_to_wait(header, seconds):
    assert classify.find_wait(header, "", now=NOW) == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("try again after 120 seconds", 120),
        ("Please retry in 5 minutes.", 300),
        ("available again in 2 hours", 900),
        ("try again later", None),
        ("try again after 3 messages", None),
    ],
)
def test_how_long_words_ask_to_wait(words, seconds):
    assert classify.find_wait(None, words, now=NOW) == seconds


@pytest.mark.parametrize("status", [302, 400, 401, 403, 413, 421, 423, 429, 500, 502, 503, 504, 520])
def test_every_answer_that_asks_to_wait_is_obeyed(status):
    assert classify.judge_status(status, "", retry_after="12", now=NOW).retry_after == 12


@pytest.mark.parametrize("status", [400, 401, 403, 500, 503])
def test_an_answer_that_does_not_ask_to_wait_sets_none(status):
    assert classify.judge_status(status, "", now=NOW).retry_after is None


def test_a_400_that_is_not_in_the_providers_document_is_not_the_messages_error():
    assert classify.judge_status(400, "", is_documented=False, now=NOW).failure_class is FailureClass.ACCOUNT
    assert classify.judge_status(413, "", is_documented=False, now=NOW).failure_class is FailureClass.MESSAGE


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EMFILE, "no-descriptors"),
        (errno.ENFILE, "no-descriptors"),
        (errno.ENOMEM, "no-memory"),
        (errno.ENOBUFS, "no-memory"),
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EADDRNOTAVAIL, "no-ports"),
        (errno.ENETDOWN, "no-network"),
        (errno.ENETUNREACH, "no-network"),
        (errno.EPERM, "not-permitted"),
        (errno.EACCES, "not-permitted"),
    ],
)
def test_what_this_machine_lacks_is_nobodys_error(number, code):
    outcome = classify.judge_connect_error(OSError(number, "no"))

    assert (outcome.cause, outcome.reason_code) == (Cause.MACHINE, code)


def test_the_docs_list_each_trouble_of_this_machine():
    listed = {cell for _, cell in tables.rows("This machine")}
    known = [classify.judge_connect_error(OSError(number, "no")) for number in classify.LOCAL_ERRORS]
    known += [classify.judge_connect_error(classify.NO_RESOLVER), classify.blame_missing_thread()]

    assert listed == {tables.describe(outcome) for outcome in known} | {"Not attempted local `mailbox-unwritable`"}


@pytest.mark.parametrize("number", [socket.EAI_AGAIN, socket.EAI_FAIL, socket.EAI_MEMORY, socket.EAI_SYSTEM])
def test_a_resolver_that_does_not_answer_is_nobodys_error(number):
    assert classify.judge_connect_error(socket.gaierror(number, "no")).failure_class is FailureClass.LOCAL


def test_a_name_that_does_not_exist_and_a_host_that_is_off_are_the_providers():
    for error in (socket.gaierror(socket.EAI_NONAME, "no"), OSError(errno.EHOSTUNREACH, "no"), OSError("several")):
        assert classify.judge_connect_error(error).failure_class is FailureClass.PROVIDER


@pytest.mark.parametrize(
    ("status", "words", "header", "period", "resets_in"),
    [
        (429, "You have reached your daily email sending quota.", None, QuotaPeriod.DAY, None),
        (429, "You have reached your monthly email sending quota.", "3600", QuotaPeriod.MONTH, 3600),
        (402, "Account does not have enough credits.", None, QuotaPeriod.UNKNOWN, None),
        (401, "Maximum credits exceeded", None, QuotaPeriod.UNKNOWN, None),
        (403, "Daily limit exceeded, try again after 7200 seconds", None, QuotaPeriod.DAY, 7200),
        (429, "Sending quota exceeded", "9999999", QuotaPeriod.UNKNOWN, 32 * 86_400),
    ],
)
def test_a_used_up_quota_is_told_with_its_period_and_the_time_the_answer_names(
    status, words, header, period, resets_in
):
    outcome = classify.judge_status(status, words, retry_after=header, now=NOW)

    assert isinstance(outcome, Refused)
    assert outcome.failure_class is FailureClass.ACCOUNT
    assert outcome.used_up == UsedUpQuota(period=period, resets_in=resets_in)


@pytest.mark.parametrize(
    ("status", "words", "is_documented"),
    [
        (429, "Too many requests", True),
        (429, "Hourly limit exceeded", True),
        (403, "Forbidden", True),
        (402, "Payment required", True),
        (403, "<html>Daily limit exceeded</html>", False),
        (503, "Daily limit exceeded", True),
    ],
)
def test_any_other_refusal_says_nothing_of_a_quota(status, words, is_documented):
    outcome = classify.judge_status(status, words, is_documented=is_documented, now=NOW)

    assert isinstance(outcome, Refused)
    assert outcome.used_up is None
