"""A test mail straight through one account."""

import datetime as dt

import pytest

from providers.accounts import delivery_test
from providers.accounts.config import AccountConfig
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Refused, Unknown
from providers.tests.support.accounts import smtp
from providers.tests.support.builders import opened

OLYMPUS = AccountConfig(name="olympus", kind="sandbox")


def test_the_test_mail_arrives():
    outcome = delivery_test.send(OLYMPUS, sender="Zeus <zeus@olimpus.com>", recipient="hera@olimpus.com")

    assert isinstance(outcome, Accepted)
    read = opened("olympus", outcome.provider_message_id)
    assert read["To"] == "hera@olimpus.com"
    assert read["Message-ID"].endswith("@olimpus.com>")
    assert "olympus" in read.get_content()


def test_the_page_says_how_long_a_test_takes_at_most(settings):
    settings.MERCURY_SEND_TIMEOUT = dt.timedelta(seconds=7)

    assert delivery_test.get_time_limit([OLYMPUS]) == 7
    assert delivery_test.get_time_limit([OLYMPUS, smtp(25)]) == 14


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Accepted(provider_message_id="x1", status_code=202), "olympus accepted it (202, id x1)."),
        (Accepted(provider_message_id="", status_code=250), "olympus accepted it (250)."),
        (
            Refused(failure_class=FailureClass.RATE, reason_code="http-429", reason="slow down"),
            "olympus refused it: Rate limit, http-429: slow down",
        ),
        (
            NotAttempted(cause=Cause.CAPACITY, reason_code="limited", reason="Its provider asked to wait."),
            "olympus was not asked: Rate limit, limited: Its provider asked to wait.",
        ),
        (
            Unknown(reason_code="read-timeout", reason="No answer."),
            "olympus did not confirm it; it may have been sent: read-timeout: No answer.",
        ),
    ],
)
def test_what_came_of_it_in_a_sentence(outcome, words):
    assert delivery_test.describe_outcome("olympus", outcome) == words
