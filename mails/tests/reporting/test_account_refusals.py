"""An account that refuses every request because of itself is shown so, wherever it is said how an account is."""

import datetime as dt
import io
import json

import pytest
from django.core.management import call_command

from mails.actions.preview import describe_effect, preview_action
from mails.intake.route_preview import preview_submission
from mails.lifecycle.action_requests import AccountChoice
from mails.lifecycle.counters import CounterKey, Counters
from mails.models import Mail, Rollup
from mails.obstacles import SendingConditions
from mails.reporting import system_status
from mails.reporting.account_refusals import count_refusals
from mails.routing.book import get_book
from mails.states import Action, Counted
from mails.tests.builders import COMMAND, a_mail
from mails.tests.lifecycle.support import request_action
from mercury.lib.database import database_clock
from providers.accounts import registry
from providers.admin.account_actions import describe_others
from providers.health import breaker_store
from providers.models import BreakerMode, RefusalRun
from providers.routing.refusing_accounts import load_refusals

pytestmark = pytest.mark.django_db(transaction=True)

REFUSED = "refused 48 requests in the last 5 minutes and accepted none"


def count(outcome: str, *, failure_class: str = "", account: str = "hades", ago=dt.timedelta(), times=1) -> None:
    counters = Counters()
    for _ in range(times):
        counters.count(CounterKey(Counted.CALL, "text", account, outcome=outcome, failure_class=failure_class))
    Rollup.objects.bulk_create([Rollup(**row) for row in counters.build_rows(database_clock.now() - ago)])


def refuse_everything() -> None:
    count("refused", failure_class="account", times=48)


def list_refusals() -> dict[str, str]:
    return load_refusals(registry.load_candidates(), database_clock.now())


@pytest.mark.parametrize(
    ("failure_class", "accepted", "minutes", "counted"),
    [
        ("account", 0, 0, {"hades": 3}),
        ("account", 1, 0, {}),
        ("account", 0, 8, {}),
        ("message", 0, 0, {}),
        ("rate", 0, 0, {}),
    ],
)
def test_refusals_count_if_they_are_recent_and_of_the_account_and_nothing_was_accepted(
    failure_class, accepted, minutes, counted
):
    count("refused", failure_class=failure_class, times=3, ago=dt.timedelta(minutes=minutes))
    count("accepted", times=accepted)
    count("accepted", account="olympus")

    assert count_refusals(database_clock.now() - dt.timedelta(minutes=5)) == counted


def test_an_account_that_its_breaker_stops_refuses_nothing(olympus, hades):
    refuse_everything()
    assert list_refusals() == {"hades": REFUSED}

    breaker_store.force("hades", BreakerMode.OPEN, by="hermes")

    assert list_refusals() == {}


def test_an_account_that_refuses_every_email_says_so_without_requests(olympus, hades):
    now = database_clock.now()
    RefusalRun.objects.create(account=hades.account, began_at=now, noticed_at=now, reason="Domain not verified")

    assert list_refusals() == {"hades": "refuses every email: Domain not verified"}


def test_the_command_says_what_an_account_refuses(olympus, hades):
    refuse_everything()
    out = io.StringIO()

    call_command("providers", "list", "--json", stdout=out)

    rows = [json.loads(line) for line in out.getvalue().splitlines()]
    assert {row["name"]: row["says"] for row in rows} == {"hades": REFUSED, "olympus": "no recent errors"}


def test_the_api_says_what_an_account_refuses(operator, olympus, hades):
    refuse_everything()

    listed = operator.get("/api/v1.0/dispatcher/providers/?expand=true").json()["providers"]
    single = operator.get(f"/api/v1.0/dispatcher/providers/{hades.account.pk}").json()

    assert [account["breaker"]["says"] for account in listed] == [REFUSED, "no recent errors"]
    assert single["breaker"]["says"] == REFUSED


def test_the_list_of_accounts_says_what_an_account_refuses_and_shows_it_first(operator, olympus, hades):
    count("refused", account="olympus", failure_class="account", times=48)

    page = operator.get("/admin/providers/account/").text

    assert page.index(">olympus</a>") < page.index(">hades</a>")
    assert (page.count(REFUSED), page.count("Refusing"), page.count("refusing email")) == (1, 1, 1)
    assert (page.count("no recent errors"), page.count("accepting email")) == (1, 1)
    assert (page.count('#last-calls-table">See its last requests</a>'), page.count(">none</span>")) == (1, 1)


def test_the_overview_says_what_an_account_refuses_and_shows_it_first(operator, olympus, hades):
    count("refused", account="olympus", failure_class="account", times=48)

    page = operator.get("/admin/").text

    accounts = page.split('id="accounts-title"')[1].split("</table>")[0]
    assert accounts.index(">olympus</a>") < accounts.index(">hades</a>")
    assert (accounts.count(REFUSED), accounts.count("Refusing"), accounts.count("no recent errors")) == (1, 1, 1)


def test_the_system_status_says_what_an_account_refuses(olympus, hades):
    refuse_everything()

    accounts = system_status.read_system_status().accounts

    assert [(account.name, account.words, account.refuses_requests) for account in accounts] == [
        ("hades", REFUSED, True),
        ("olympus", "no recent errors", False),
    ]


def test_a_forecast_does_not_count_it_as_available_and_names_it(olympus, hades):
    mail = a_mail()
    request_action(mail, Action.HOLD)
    [before] = preview_action(Action.RELEASE, Mail.objects.all()).groups

    refuse_everything()
    [group] = preview_action(Action.RELEASE, Mail.objects.all()).groups

    assert before.forecast == "likely to succeed: 2 of 2 accounts available"
    assert group.forecast == "likely to succeed: 1 of 2 accounts available, hades refuses every request"


def test_a_forecast_says_that_email_waits_if_every_account_refuses(olympus, hades):
    mail = a_mail()
    request_action(mail, Action.CANCEL)
    refuse_everything()

    only_hades = describe_effect(mail, Action.REPROCESS, AccountChoice(via="hades"))[-1]
    only_olympus = describe_effect(mail, Action.REPROCESS, AccountChoice(via="olympus"))[-1]
    count("refused", account="olympus", failure_class="account")
    both = describe_effect(mail, Action.REPROCESS)[-1]

    assert only_hades == "The email waits: hades is not available, hades refuses every request."
    assert only_olympus == "Olympus is available."
    assert both == "The email waits: no account available, hades and olympus refuse every request."


def test_a_preview_of_routing_names_it(olympus, hades):
    refuse_everything()
    fields = {"sender": "zeus@olimpus.com", "recipient": "hera@olimpus.com", "subject": "Hi", "content": "Hi"}

    found = preview_submission(fields, client=COMMAND, book=get_book(), conditions=SendingConditions.load())

    assert {account.account: account.refuses for account in found.accounts} == {"hades": REFUSED, "olympus": ""}


def test_it_does_not_take_the_email_of_an_account_that_is_disabled(olympus, hades):
    [candidate] = [candidate for candidate in registry.load_candidates() if candidate.config.name == "olympus"]
    assert describe_others(candidate).startswith("Email goes to hades instead.")

    refuse_everything()

    assert describe_others(candidate) == "No other account is available: all email is queued until one is."
