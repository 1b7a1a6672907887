"""Routing rules are added, changed, ordered and removed; what cannot be meant is refused, what is odd is named."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mails.models import RoutingRule
from mails.routing import changes, review
from mails.routing.book import get_book
from mails.routing.changes import RuleNotFound
from mails.routing.drafts import RuleInvalid, read_draft
from mails.tests.conditions.strategies import GIVEN, JSON
from mails.tests.routing.builders import a_rule
from mercury.lib.audit.models import AuditEntry

pytestmark = pytest.mark.django_db
ACCOUNTS = ["hades", "olympus"]


def names():
    return list(RoutingRule.objects.values_list("name", flat=True))


def positions():
    return list(RoutingRule.objects.values_list("position", flat=True))


@pytest.fixture
def three(olympus, hades):
    return [a_rule(name, "olympus", tag=[name]) for name in ("alpha", "beta", "gamma")]


def test_rules_are_in_order_and_new_ones_come_last(three):
    assert names() == ["alpha", "beta", "gamma"]
    assert positions() == [1, 2, 3]


@pytest.mark.parametrize(
    ("place", "order"),
    [(1, "gamma alpha beta"), (2, "alpha gamma beta"), (3, "alpha beta gamma"), (99, "alpha beta gamma")],
)
def test_a_rule_is_moved(three, place, order):
    changes.move(three[2], place, by="user:hermes")

    assert names() == order.split()
    assert positions() == [1, 2, 3]


def test_a_rule_is_added_at_a_place(three):
    a_rule("omega", "olympus", position=2, tag=["omega"])

    assert names() == ["alpha", "omega", "beta", "gamma"]


def test_a_removed_rule_leaves_no_gap(three):
    changes.remove(three[0], by="user:hermes")

    assert names() == ["beta", "gamma"]
    assert positions() == [1, 2]


def test_a_disabled_rule_matches_nothing(three):
    assert len(get_book().policies) == 3
    assert changes.set_enabled(three[0], enabled=False, by="user:hermes")
    assert not changes.set_enabled(three[0], enabled=False, by="user:hermes")

    assert len(get_book().policies) == 2


def test_each_change_is_in_the_audit_log(three):
    changes.set_enabled(three[1], enabled=False, by="user:hermes")
    changes.move(three[2], 1, by="user:hermes")
    changes.remove(three[0], by="user:hermes")

    entries = AuditEntry.objects.filter(kind="routing rule").order_by("id").values_list("act", "name", "detail")
    assert list(entries)[3:] == [
        ("change", "beta", "disabled; Email tagged beta goes through olympus only."),
        ("change", "gamma", "place 3 → 1; Email tagged gamma goes through olympus only."),
        ("delete", "alpha", "Email tagged alpha goes through olympus only."),
    ]


def test_a_name_is_taken_once(three):
    with pytest.raises(RuleInvalid, match="exists already"):
        a_rule("alpha", "olympus")


def test_a_rule_that_was_removed_by_somebody_else_is_not_found(three):
    RoutingRule.objects.filter(pk=three[0].pk).delete()

    with pytest.raises(RuleNotFound, match="removed by someone else"):
        changes.move(three[0], 2, by="user:hermes")
    with pytest.raises(RuleNotFound, match="Known: beta, gamma"):
        changes.find_row("alpha")


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ({"name": "Eu Only"}, "name", "lower case"),
        ({"accounts": []}, "accounts", "Name at least one account"),
        ({"accounts": ["zeus"]}, "accounts.0", "There is no account 'zeus'. Known: hades, olympus."),
        ({"accounts": ["hades", "hades"]}, "accounts.1", "is there twice"),
        ({"accounts": [{"account": "hades", "weight": 0}]}, "accounts.0.weight", "from 1 to 10000"),
        ({"accounts": [{"account": "hades", "priority": "1"}]}, "accounts.0.priority", "from 1 to 100"),
        ({"accounts": [{"account": "hades", "share": 1}]}, "accounts.0.share", "only"),
        ({"accounts": [7]}, "accounts.0", "It must be a name, or an object"),
        ({"conditions": {"size": {"from": 2, "to": 1}}}, "conditions.size", "No email can match"),
        ({"conditions": {"tag": []}}, "conditions.tag", "matches no email"),
        ({"enabled": "yes"}, "enabled", "true or false"),
        ({"note": "x" * 501}, "note", "at most 500"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, place, words):
    with pytest.raises(RuleInvalid) as caught:
        read_draft({"name": "eu-only", "accounts": ["hades"], **given}, known_accounts=ACCOUNTS)

    assert words in caught.value.errors[place]


def warnings_of(rule):
    return review.find_warnings(review.list_rules(), rule)


def test_a_rule_behind_a_wider_one_never_decides(olympus, hades):
    a_rule("all-greek", "hades", recipient_domain=["*.gr", "hera.gr"])
    rule = a_rule("hera", "olympus", recipient_domain=["hera.gr"], tag=["invoice"])

    assert warnings_of(rule) == [
        (
            "It never decides: every email it matches, such as an email from zeus@olimpus.com to hera@hera.gr, tagged "
            "invoice, matches 'all-greek' first."
        )
    ]


def test_a_rule_before_narrower_ones_takes_all_from_them(olympus, hades):
    a_rule("hera", "olympus", recipient_domain=["hera.gr"])
    rule = a_rule("everything", "hades", position=1)

    assert warnings_of(rule) == [
        "'hera' behind it never decides: an email from zeus@olimpus.com to hera@hera.gr matches this rule first."
    ]


def test_rules_that_contradict_are_named_with_an_example(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    rule = a_rule("invoices", "olympus", tag=["invoice"], recipient_domain=["hera.gr", "zeus.gr"])

    assert warnings_of(rule) == [
        (
            "It contradicts 'greece', which goes first: an email from zeus@olimpus.com to hera@hera.gr, tagged invoice "
            "matches both, and they allow no account in common."
        )
    ]


def test_a_rule_without_a_usable_account_is_named_with_an_example(olympus, hades):
    hades.disable()
    rule = a_rule("greece", "hades", recipient_domain=["hera.gr"])

    assert warnings_of(rule) == [
        (
            "None of its accounts can be used: hades (disabled). Every email it matches waits, such as an email from "
            "zeus@olimpus.com to hera@hera.gr."
        )
    ]


def test_unknown_keys_and_too_many_recipients_are_named(olympus):
    rule = a_rule("shop", "olympus", api_key=["shop"], recipients={"from": 5000})

    assert [warning[:28] for warning in warnings_of(rule)] == [
        "No API key is named shop: un",
        "No email can match: it asks ",
    ]


def test_a_sound_rule_has_no_warnings(three):
    assert [warnings_of(rule) for rule in three] == [[], [], []]


@given(
    given=st.dictionaries(st.sampled_from(["name", "enabled", "note"]), JSON, max_size=3),
    conditions=GIVEN,
    accounts=JSON | st.lists(st.sampled_from(ACCOUNTS) | st.fixed_dictionaries({"account": JSON | st.just("hades")})),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_json_is_a_rule_or_an_error_with_words(given, conditions, accounts):
    whole = {"name": "eu-only", "conditions": conditions, "accounts": accounts, **given}

    result = _read_or_refuse(whole)

    if isinstance(result, RuleInvalid):
        assert all(result.errors.values())
    else:
        assert result.accounts


def _read_or_refuse(given):
    try:
        return read_draft(given, known_accounts=ACCOUNTS)
    except RuleInvalid as refused:
        return refused
