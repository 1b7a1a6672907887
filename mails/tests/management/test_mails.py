import pytest

from mails.tests.builders import IRIS, a_mail, dispatch
from mails.tests.commandline import run

pytestmark = pytest.mark.django_db(transaction=True)


def subjects(*options: str) -> list[str]:
    return [line["subject"] for line in run("mails", *options, "--json").lines]


def test_no_mail_says_how_to_send_the_first():
    assert "manage.py send" in run("mails").out


def test_the_newest_come_first_up_to_the_limit():
    for number in range(3):
        a_mail(subject=f"mail {number}")

    assert subjects("--limit", "2") == ["mail 2", "mail 1"]


def test_the_table_shows_the_state_in_words(olympus):
    mail = a_mail()
    dispatch()

    table = run("mails").out

    assert str(mail.pk) in table
    assert "Sent" in table
    assert "olympus" in table


def test_mails_are_narrowed_by_state_recipient_and_provider(olympus):
    a_mail(subject="sent")
    dispatch()
    a_mail(subject="queued", recipient=IRIS)

    assert subjects("--state", "done") == ["sent"]
    assert subjects("--to", "iris") == ["queued"]
    assert subjects("--provider", "olympus") == ["sent"]
    assert subjects("--since", "1h", "--search", "subject:queued") == ["queued"]


def test_nothing_found_is_said():
    a_mail()

    assert run("mails", "--to", "nobody").out.strip() == "No email matches."


def test_an_unknown_search_word_is_wrong_use_and_named():
    ran = run("mails", "--search", "colour:red")

    assert ran.code == 2
    assert "to:" in ran.error


def test_a_malformed_age_is_wrong_use():
    ran = run("mails", "--since", "yesterday")

    assert "neither an age" in ran.error
