"""Each line of the table of replies in docs/providers/smtp.md, and what follows where several replies meet."""

import pytest

from providers.outcomes import FailureClass
from providers.tests.support import tables
from providers.transports.smtp_replies import (
    Judgement,
    Phase,
    build_accepted,
    build_refused,
    judge,
    refuse_all,
    refuse_recipient,
)

HERA, ZEUS = "hera@olimpus.com", "zeus@olimpus.com"


def described(judgement: Judgement) -> str:
    """A judgement as a cell of the table has it."""
    if judgement.next_call:
        return "further request"
    if judgement.at_capacity:
        return f"{judgement.failure_class}, fewer connections"
    wait = f" {judgement.retry_after:.0f} s" if judgement.retry_after is not None else ""
    return f"{judgement.failure_class}{wait}"


@pytest.mark.parametrize(("_who", "step", "reply", "expected"), tables.rows("Replies", "providers/smtp.md"))
def test_a_reply_becomes_what_the_table_says(_who, step, reply, expected):
    code, _, text = tables.name(reply).partition(" ")

    assert described(judge(int(code), text, Phase(step))) == expected


@pytest.mark.parametrize("code", [550, 551, 553])
@pytest.mark.parametrize("text", ["", "5.1.0 no", "5.1.1 no", "5.1.2 no", "5.1.3 no", "5.1.6 no", "5.1.10 no"])
def test_a_mailbox_that_is_clearly_refused_is_refused_for_good(code, text):
    assert refuse_recipient(HERA, code, text).permanent


@pytest.mark.parametrize(
    "words",
    [
        "relay access denied",
        "please authenticate first",
        "Invalid HELO name",
        "rejected by policy",
        "sending limit exceeded",
        "too many messages",
        "too many recipients",
        "greylisted",
        "mailbox full",
    ],
)
@pytest.mark.parametrize("code", [550, 551, 552, 553, 554])
def test_a_reply_about_anything_else_than_the_mailbox_never_ends_it(code, words):
    assert not refuse_recipient(HERA, code, words).permanent


@pytest.mark.parametrize("phase", [Phase.GREETING, Phase.EHLO, Phase.STARTTLS, Phase.AUTH])
@pytest.mark.parametrize("text", ["", "5.6.0 content rejected", "5.3.4 message too large", "5.1.1 user unknown"])
def test_what_comes_before_the_message_is_never_its_error(phase, text):
    assert judge(550, text, phase).failure_class is not FailureClass.MESSAGE


def test_a_mailbox_named_after_the_dot_ends_an_email_only_if_it_is_the_only_one():
    assert judge(550, "5.1.1 User unknown", Phase.DOT, recipients=1).failure_class is FailureClass.MESSAGE
    assert judge(550, "5.1.1 User unknown", Phase.DOT, recipients=2).failure_class is FailureClass.RECIPIENT


@pytest.mark.parametrize(
    ("replies", "fault"),
    [
        ([(550, "5.1.1 unknown"), (550, "5.1.1 unknown")], FailureClass.MESSAGE),
        ([(550, "5.1.1 unknown"), (450, "4.2.2 full")], FailureClass.RECIPIENT),
        ([(450, "4.2.2 full"), (451, "4.3.0 local error")], FailureClass.RECIPIENT),
        ([(550, "5.1.1 unknown"), (451, "4.3.0 local error")], FailureClass.RECIPIENT),
        ([(451, "4.3.0 local error"), (451, "4.3.0 local error")], FailureClass.PROVIDER),
        ([(550, "5.1.1 unknown"), (554, "5.7.1 relay access denied")], FailureClass.ACCOUNT),
        ([(450, "4.2.2 full"), (450, "4.7.1 too much mail")], FailureClass.RATE),
        ([(452, "4.5.3 too many recipients")], FailureClass.RATE),
    ],
)
def test_when_all_are_refused_one_error_decides(replies, fault):
    outcome = refuse_all([(f"{number}@olimpus.com", *reply) for number, reply in enumerate(replies)])

    assert outcome.failure_class is fault
    assert len(outcome.refused) == len(replies)


def test_a_recipient_beyond_the_limit_of_a_call_is_neither_refused_for_good_nor_for_now():
    for code in (452, 552):
        refusal = refuse_recipient(HERA, code, "Too many recipients")

        assert refusal.next_call
        assert not refusal.permanent


def test_the_words_of_a_refused_log_in_are_judged_and_not_kept():
    outcome = build_refused(
        451, "4.7.0 Authentication failed for AGp1cAB0aHVuZGVy: Maximum credits exceeded", Phase.AUTH
    )

    assert outcome.failure_class is FailureClass.ACCOUNT
    assert outcome.reason == "The server refused the login: 451 4.7.0."
    assert build_refused(535, "no", Phase.AUTH).reason == "The server refused the login: 535."


@pytest.mark.parametrize(
    ("text", "name"),
    [("2.0.0 Ok: queued as 4Xyz12", "4Xyz12"), ("OK queued as <a@b.c>", "<a@b.c>"), ("fine", "")],
)
def test_the_name_that_a_server_gives(text, name):
    assert build_accepted(250, text, ()).provider_message_id == name
