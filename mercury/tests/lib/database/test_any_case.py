"""Letters match in either case beyond ASCII, on both databases, wherever text is searched."""

import pytest
from django.contrib.auth.models import User
from django.db.models import F, Value
from django.db.models.functions import Upper

from mails.models import Mail
from mails.reporting import search
from mails.tests.builders import a_mail
from mails.tests.callers import HELLO, MAILS, caller
from mails.tests.commandline import run
from mails.tests.people import browser_of, hermes
from mercury.lib.database.fair_sqlite.capitals import list_capitals

pytestmark = pytest.mark.django_db
SUBJECT = "Grüße aus ΑΘΉΝΑ, Straße 5 % Ünder_Öl"


@pytest.mark.parametrize(
    "word", ["GRÜSSE", "GRÜßE", "grüße", "αθήνα", "Αθήνα", "STRAßE", "straße", "ünder_öl", "5", "AUS"]
)
def test_search_finds_words_in_either_case(word):
    mail = a_mail(subject=SUBJECT)
    a_mail(subject="Another")

    found = list(search.narrow(Mail.objects.all(), word))

    assert found == ([] if word == "GRÜSSE" else [mail])


def test_every_door_searches_alike(olympus):
    zeus = caller()
    mail = zeus.post(MAILS, HELLO | {"subject": SUBJECT}).json()
    zeus.post(MAILS, HELLO)
    browser = browser_of(hermes())

    assert zeus.get(MAILS, {"filter": "subject,like,%αθήνα%STRAßE%ÜNDER\\_öl"}).json()["mails"] == [mail["url"]]
    assert [line["id"] for line in run("mails", "--search", "GRÜßE", "--json").lines] == [mail["id"]]
    page = browser.get("/admin/mails/mail/?q=GRÜßE").content.decode()
    assert mail["id"] in page
    assert f">{HELLO['subject']}<" not in page


def test_keys_are_found_in_the_admin_in_either_case():
    caller("Bäckerei")
    caller("hermes")

    page = browser_of(hermes()).get("/admin/mails/apikey/", {"q": "BÄCK"}).content.decode()

    assert "Bäckerei" in page


@pytest.mark.parametrize(
    ("lookup", "value", "found"),
    [
        ("icontains", "ÄG", True),
        ("icontains", "äg_", False),
        ("icontains", "Ä%", False),
        ("istartswith", "äG", True),
        ("istartswith", "Gir", False),
        ("iendswith", "GÍR", True),
        ("iexact", "äGÍR", True),
        ("iexact", "äg", False),
    ],
)
def test_djangos_lookups_know_either_case(lookup, value, found):
    User.objects.create(username="Ägír")

    assert User.objects.filter(**{f"username__{lookup}": value}).exists() is found


def test_an_expression_is_compared_as_before():
    User.objects.create(username="zeus", first_name="ZEUS")

    assert User.objects.filter(username__iexact=F("first_name")).exists()
    assert User.objects.filter(username__icontains=Upper(Value("eu"))).exists()


def test_capitals_keep_the_length_of_a_text():
    assert [list_capitals(value) for value in ("straße", "ŉ", "ÿ", None, 5)] == ["STRAßE", "ŉ", "Ÿ", None, 5]
