"""One list of marks that are not shown as they are, at every door."""

import json
import sys
import unicodedata

import pytest

from mails.access import api_keys
from mails.api.serializers.requests import NewEventSerializer
from mails.intake.submission import InvalidSubmission, judge
from mails.models import ApiKey
from mails.tests.callers import HELLO
from mails.tests.commandline import run
from mails.tests.people import browser_of, hermes
from mercury.lib import commands, variables
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.mail import printable
from mercury.lib.rest.problems import Problem
from providers.transports import redaction

ESCAPES = ["\x1b[2J", "\x9b2J", "\x07", "\r", "\x7f", "\u202e", "\u2066", "\u2028", "\ud800"]
_JOINERS = "\u00ad\u200c\u200d"  # soft hyphen and joiners
_SEEN = (
    "ARABIC",
    "SYRIAC",
    "KAITHI",
    "EGYPTIAN",
    "MUSICAL",
    "SHORTHAND",
    "TAG",
    "LANGUAGE TAG",
    "CANCEL TAG",
)  # letters, notes, flags


def test_the_list_is_what_unicode_calls_controls_breaks_and_formats():
    wanted = {"Cc", "Zl", "Zp", "Cs"}
    for number in range(sys.maxunicode + 1):
        mark = chr(number)
        is_format = unicodedata.category(mark) == "Cf" and mark not in _JOINERS
        expected = unicodedata.category(mark) in wanted or (
            is_format and (not unicodedata.name(mark, "").startswith(_SEEN) or mark == "\u061c")
        )
        if unicodedata.category(mark) != "Cn":  # not given to anything yet
            assert bool(printable.find_unprintable(mark)) == expected, f"U+{number:04X}"


@pytest.mark.parametrize("mark", ESCAPES)
@pytest.mark.parametrize(
    "show",
    [
        printable.replace_unprintable,
        commands.make_printable,
        variables.quote_value,
        redaction.build_cleaner([]),
    ],
)
def test_no_door_shows_such_a_mark(show, mark):
    assert printable.find_unprintable(show(f"a{mark}b")) == ""
    assert show("Größe 👩\u200d🚀 a").strip("'") == "Größe 👩\u200d🚀 a"


@pytest.mark.parametrize("mark", ESCAPES)
@pytest.mark.django_db
def test_no_name_and_no_header_takes_one(mark):
    with pytest.raises(ValueError, match="cannot be shown"):
        api_keys.create(f"shop{mark}", scopes=[], senders=[])
    assert isinstance(judge(HELLO | {"subject": f"Hi{mark}there"}), InvalidSubmission)
    with pytest.raises(Problem):
        NewEventSerializer(data={"event": f"OPENED{mark}x"}).is_valid(raise_exception=True)


@pytest.mark.django_db
def test_the_form_and_the_command_refuse_a_keys_name_and_say_why():
    page = browser_of(hermes()).post(
        "/admin/mails/apikey/add/", {"name": "a\x1bb", "scopes": ["mails:read"], "senders": ""}
    )
    command = run("apikey", "create", "a\x1b[2Jb")

    assert "cannot be shown (U+001B)" in page.text
    assert "cannot be shown (U+001B)" in command.error
    assert not ApiKey.objects.exists()


@pytest.mark.django_db
def test_a_name_that_was_stored_before_reaches_no_terminal():
    key, _text = api_keys.create("shop", scopes=[], senders=[])
    ApiKey.objects.update(name="a\x1b[2J\u202eb")

    answers = [run("apikey", "list"), run("apikey", "list", "--json"), run("apikey", "revoke", key.prefix)]

    assert all(not printable.find_unprintable(answer.out + answer.error, allowed="\n") for answer in answers)
    assert answers[1].document["name"] == "a\x1b[2J\u202eb"
    assert "Not running interactively" in answers[2].error


@pytest.mark.django_db
def test_the_audit_log_keeps_none():
    entry = audit.record(Act.CHANGE, by="user:zeus", kind="group", name="a\x1bb", detail="x\u202ey\nz")

    assert (entry.name, entry.detail) == ("a\ufffdb", "x\ufffdy\ufffdz")


@pytest.mark.parametrize("mark", ESCAPES)
def test_json_means_the_same_and_shows_none(mark):
    document = json.dumps({"a": f"x{mark}y"}, ensure_ascii=False)

    escaped = printable.escape_in_json(document)

    assert printable.find_unprintable(escaped) == ""
    assert json.loads(escaped) == {"a": f"x{mark}y"}
