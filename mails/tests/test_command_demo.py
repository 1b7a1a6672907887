import pytest

from mails.models import Mail
from mails.states import Status
from mails.tests.commandline import run
from providers import registry
from providers.models import Account, SandboxFault

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def embedded(settings):
    settings.REDIS_URL = ""
    settings.MERCURY_EMBEDDED = True


def test_one_account_fails_and_all_mails_arrive_by_the_other():
    document = run("demo", "--failover", "--mails", "12", "--json").document

    assert (document["mails"], document["sent"]) == (12, 12)
    well, ill = document["accounts"]
    assert (well["took"], well["refused"], ill["took"]) == (12, 0, 0)
    assert ill["refused"] > 0


def test_the_story_has_both_accounts_and_one_timeline():
    story = run("demo", "--failover", "--mails", "8").out

    for words in (
        "sandbox-a answers 503",
        "8 of 8 mails were sent",
        "sandbox-b",
        "READY TO SEND",
        "sandbox-a is well again",
    ):
        assert words in story


@pytest.mark.parametrize(
    ("base", "place"),
    [("", "/admin/ of your Mercury"), ("https://mail.olimpus.com", "https://mail.olimpus.com/admin/")],
)
def test_it_ends_with_where_to_look_and_guesses_no_host(settings, base, place):
    settings.MERCURY_BASE_URL = base

    story = run("demo", "--mails", "2").out

    assert " ".join(story.split()).endswith(f"each account with its breaker: {place}")


def test_afterwards_the_accounts_are_as_they_were():
    run("demo", "--failover", "--mails", "8")

    assert not SandboxFault.objects.exists()
    assert {account.breaker.state for account in Account.objects.all()} == {"closed"}


def test_without_failover_both_take_their_share():
    assert run("demo", "--mails", "4", "--json").document["sent"] == 4


def test_it_refuses_where_mails_would_really_go_out():
    registry.register("olympus", "smtp", {"host": "smtp.example.com"}, by="test")

    ran = run("demo", "--failover")

    assert ran.code == 1
    assert "olympus" in ran.error
    assert not Mail.objects.exists()


def test_a_dry_run_sends_nothing():
    assert "Nobody receives one" in run("demo", "--dry-run").out
    assert not Mail.objects.filter(status=Status.QUEUED).exists()
