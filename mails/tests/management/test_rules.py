"""`manage.py rules`: list, change and preview routing rules."""

import pytest

from mails.models import RoutingRule
from mails.tests.builders import a_mail
from mails.tests.commandline import run
from mails.tests.routing.builders import a_rule
from mercury.lib.commands import ExitCode

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def accounts(olympus, hades):
    """The two accounts."""


def test_a_rule_is_added_from_options():
    ran = run(
        *("rules", "add", "greece", "--account", "hades,priority=1,weight=3", "--account", "olympus,priority=2"),
        *("--recipient-domain", "hera.gr", "--recipient-domain", "*.hera.gr", "--tag", "invoice"),
        *("--size-from", "1000", "--recipients-to", "9", "--note", "GDPR"),
    )

    assert ran.code == 0, ran.error
    assert (
        "greece is added. Email to hera.gr or *.hera.gr, tagged invoice, of at least 1 kB, with at most 9 recipients, goes "
        "through hades (weight 3), then olympus."
    ) in " ".join(ran.out.split())
    stored = RoutingRule.objects.get()
    assert stored.accounts == [{"account": "hades", "priority": 1, "weight": 3}, {"account": "olympus", "priority": 2}]
    assert stored.conditions["size"] == {"from": 1000}


def test_without_rules_the_list_says_what_that_means():
    assert "every account may take every email" in run("rules", "list").out


def test_rules_are_listed_with_what_is_odd():
    a_rule("all", "olympus")
    a_rule("greece", "hades", recipient_domain=["hera.gr"])

    listed = run("rules", "list", "--json").lines
    assert [(row["position"], row["name"]) for row in listed] == [(1, "all"), (2, "greece")]
    assert "greece: It never decides" in " ".join(run("rules", "list").out.split())


def test_rules_are_disabled_enabled_moved_and_removed():
    a_rule("all", "olympus")
    a_rule("greece", "hades", recipient_domain=["hera.gr"])

    assert run("rules", "disable", "all", "--json").document == {"rule": "all", "enabled": False, "changed": True}
    assert "already disabled" in run("rules", "disable", "all").out
    assert run("rules", "enable", "all", "--json").document["changed"]
    assert run("rules", "move", "greece", "1", "--json").document["order"] == ["greece", "all"]
    assert "Would remove" in run("rules", "remove", "all", "--dry-run").out
    assert run("rules", "remove", "all").code == 0
    assert list(RoutingRule.objects.values_list("name", flat=True)) == ["greece"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["add", "greece"], "Name at least one account"),
        (["add", "greece", "--account", "zeus"], "There is no account 'zeus'"),
        (["add", "greece", "--account", "hades,weight=x"], "from 1 to 10000"),
        (["add", "greece", "--account", "hades", "--size-from", "9", "--size-to", "8"], "No email can match"),
        (["remove", "greece"], "There is no routing rule 'greece'. Known: none."),
        (["preview"], "Give --mail, or --from and --to."),
        (["preview", "--from", "zeus@olimpus.com", "--to", "nobody"], "This email would be refused"),
        (
            ["preview", "--from", "a@olimpus.com", "--to", "b@olimpus.com", "--api-key", "shop"],
            "no API key named 'shop'",
        ),
    ],
)
def test_wrong_use_is_explained(words, error):
    ran = run("rules", *words)

    assert ran.code == ExitCode.USAGE_ERROR
    assert error in ran.error


def test_an_email_is_previewed():
    a_rule("greece", "hades", recipient_domain=["hera.gr"])

    ran = run("rules", "preview", "--from", "zeus@olimpus.com", "--to", "hera@hera.gr")

    assert "This email would go to hades by the rule 'greece'." in ran.out
    assert "1. greece decides" in ran.out
    assert "olympus (weight 1, priority 1): not now: rule 'greece' allows only hades" in ran.out
    assert run("rules", "preview", "--mail", str(a_mail().pk), "--json").document["rule"] is None
