"""Conditions over what is known of an email."""

import json

import pytest
from hypothesis import given

from mails.conditions.comparison import build_example, covers, describe_example, find_overlap
from mails.conditions.conditions import ALL_MAIL, MailFacts, Range, matches
from mails.conditions.parsing import ConditionsInvalid, dump_conditions, load_conditions, parse_conditions
from mails.conditions.wording import explain, explain_mismatch
from mails.tests.conditions.strategies import CONDITIONS, FACTS, GIVEN

pytestmark = pytest.mark.one_leg

ZEUS_TO_HERA = MailFacts(
    sender_domain="olimpus.com",
    recipient_domains=frozenset({"hera.gr", "mail.zeus.gr"}),
    tags=frozenset({"invoice"}),
    queue="html",
    api_key="shop",
    size=2000,
    recipients=2,
)


def meets(facts, **given):
    return matches(parse_conditions(given), facts)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"sender_domain": "olimpus.com"},
        {"sender_domain": ["hades.gr", "OLIMPUS.com."]},
        {"recipient_domain": ["hera.gr"]},
        {"recipient_domain": ["*.zeus.gr"]},
        {"recipient_domain": ["*.gr"]},
        {"tag": ["receipt", "invoice"]},
        {"queue": ["html"]},
        {"api_key": ["shop"]},
        {"size": {"from": 2000, "to": 2000}},
        {"recipients": {"to": 2}},
        {"sender_domain": ["olimpus.com"], "tag": ["invoice"], "size": {"from": 1}},
    ],
)
def test_an_email_meets(given):
    assert meets(ZEUS_TO_HERA, **given)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"sender_domain": ["*.olimpus.com"]}, "the sender's domain is olimpus.com, not *.olimpus.com"),
        ({"sender_domain": ["impus.com"]}, "the sender's domain is olimpus.com, not impus.com"),
        ({"recipient_domain": ["*.hera.gr", "gr"]}, "no recipient is at *.hera.gr or gr"),
        ({"tag": ["Invoice"]}, "it has no tag Invoice"),
        ({"queue": ["bulk", "text"]}, "its queue is html, not bulk or text"),
        ({"api_key": ["blog"]}, "it was submitted with the API key shop, not with blog"),
        ({"size": {"from": 3000}}, "it has 2 kB, not at least 3 kB"),
        ({"recipients": {"from": 3, "to": 9}}, "its number of recipients is 2, not 3 to 9"),
        ({"sender_domain": ["olimpus.com"], "tag": ["receipt"]}, "it has no tag receipt"),
    ],
)
def test_an_email_does_not_meet(given, why):
    assert not meets(ZEUS_TO_HERA, **given)
    assert explain_mismatch(parse_conditions(given), ZEUS_TO_HERA) == why


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "every email"),
        (
            {"sender_domain": ["olimpus.com", "*.olimpus.com"], "recipient_domain": ["hera.gr"], "tag": ["invoice"]},
            "email from olimpus.com or *.olimpus.com to hera.gr, tagged invoice",
        ),
        (
            {"queue": ["bulk"], "api_key": ["shop"], "size": {"from": 1_000_000}, "recipients": {"from": 2, "to": 10}},
            "email in the queue bulk, submitted with the API key shop, of at least 1 MB, with 2 to 10 recipients",
        ),
        ({"tag": list("abcdefgh")}, "email tagged a, b, c, d, e or one of 3 more"),
    ],
)
def test_conditions_are_one_phrase(given, sentence):
    assert explain(parse_conditions(given)) == sentence


def test_a_domain_is_stored_as_addresses_have_it():
    conditions = parse_conditions({"recipient_domain": ["Bücher.Example.com", "*.EU", "*.bücher.de"]})

    assert conditions.recipient_domain == ("xn--bcher-kva.example.com", "*.eu", "*.xn--bcher-kva.de")


@pytest.mark.parametrize(
    ("given", "place", "words"),
    [
        ([], "", "Conditions are an object"),
        ({"sender": ["a.b"]}, "sender", "There is no such condition. Known: sender_domain"),
        ({"tag": []}, "tag", "An empty list matches no email"),
        ({"tag": [""]}, "tag.0", "It is empty"),
        ({"tag": ["a", 7]}, "tag.1", "It must be a text, not a number"),
        ({"tag": {"a": 1}}, "tag", "It must be a list of texts, not an object"),
        ({"tag": ["\x1b[2J"]}, "tag.0", "It contains the character U+001B"),
        ({"tag": ["x"] * 101}, "tag", "at most 100"),
        ({"tag": ["x" * 129]}, "tag.0", "at most 128"),
        ({"queue": ["slow"]}, "queue.0", "There is no queue 'slow'. Known: text, html, attachment, large, bulk"),
        ({"sender_domain": ["*"]}, "sender_domain.0", "leave the condition out"),
        ({"sender_domain": ["zeus@olimpus.com"]}, "sender_domain.0", "Write its domain only: olimpus.com"),
        ({"sender_domain": ["mail.*.com"]}, "sender_domain.0", "is not a domain"),
        ({"sender_domain": ["-a.com"]}, "sender_domain.0", "is not a domain"),
        ({"sender_domain": ["ü" * 400 + ".com"]}, "sender_domain.0", "is not a domain"),
        ({"size": {"from": 10, "to": 9}}, "size", "No email can match: from 10 is more than to 9"),
        ({"size": {}}, "size", "neither `from` nor `to`"),
        ({"size": 7}, "size", "It must be an object"),
        ({"size": {"from": True}}, "size.from", "a whole number, not true or false"),
        ({"size": {"to": 2**31}}, "size.to", "from 0 to"),
        ({"size": {"more": 1, "to": 2}}, "size.more", "`from` and `to` only"),
        ({"recipients": {"to": 0}}, "recipients", "No email can match: each has at least one recipient"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_place_and_a_remedy(given, place, words):
    with pytest.raises(ConditionsInvalid) as caught:
        parse_conditions(given)

    assert words in caught.value.errors[place]


@pytest.mark.parametrize(
    ("wide", "narrow", "is_covered"),
    [
        ({}, {"tag": ["a"]}, True),
        ({"tag": ["a"]}, {}, False),
        ({"tag": ["a", "b"]}, {"tag": ["b"], "queue": ["bulk"]}, True),
        ({"sender_domain": ["*.gr"]}, {"sender_domain": ["hera.gr", "*.hera.gr", "*.gr"]}, True),
        ({"sender_domain": ["*.hera.gr"]}, {"sender_domain": ["*.gr"]}, False),
        ({"sender_domain": ["hera.gr"]}, {"sender_domain": ["*.hera.gr"]}, False),
        ({"size": {"from": 5}}, {"size": {"from": 5, "to": 9}}, True),
        ({"size": {"from": 5}}, {"size": {"to": 9}}, False),
    ],
)
def test_wider_conditions_cover_narrower_ones(wide, narrow, is_covered):
    assert covers(parse_conditions(wide), parse_conditions(narrow)) is is_covered


def test_an_example_is_told_as_a_person_would():
    conditions = parse_conditions({"recipient_domain": ["*.gr"], "tag": ["invoice"], "recipients": {"from": 3}})

    assert describe_example(build_example(conditions)) == (
        "an email from zeus@olimpus.com to hera@mail.gr, tagged invoice, with 3 recipients"
    )


def test_two_rules_that_meet_have_an_example_in_common():
    first, second = parse_conditions({"tag": ["invoice"]}), parse_conditions({"tag": ["invoice", "welcome"]})
    example = find_overlap(first, second)

    assert example is not None
    assert matches(first, example)
    assert matches(second, example)
    assert find_overlap(first, parse_conditions({"tag": ["receipt"]})) is None


def test_a_rule_of_a_later_version_is_not_understood():
    assert load_conditions({"moon": ["full"]}) is None
    assert load_conditions({}) == ALL_MAIL


@given(CONDITIONS, FACTS)
def test_matching_agrees_with_a_plain_reference(conditions, facts):
    assert matches(conditions, facts) is _matches_slowly(conditions, facts)


@given(CONDITIONS, FACTS)
def test_an_email_that_does_not_match_is_told_why(conditions, facts):
    assert bool(explain_mismatch(conditions, facts)) is not matches(conditions, facts)


@given(CONDITIONS)
def test_conditions_survive_storage(conditions):
    assert parse_conditions(json.loads(json.dumps(dump_conditions(conditions)))) == conditions


@given(CONDITIONS)
def test_an_example_meets_its_conditions(conditions):
    assert matches(conditions, build_example(conditions))


@given(CONDITIONS, CONDITIONS, FACTS)
def test_what_is_covered_matches(wide, narrow, facts):
    if covers(wide, narrow) and matches(narrow, facts):
        assert matches(wide, facts)


@given(CONDITIONS)
def test_conditions_cover_themselves_and_all_mail_covers_them(conditions):
    assert covers(conditions, conditions)
    assert covers(ALL_MAIL, conditions)


@given(GIVEN)
def test_any_json_is_conditions_or_an_error_with_words(given):
    result = _parse_or_refuse(given)

    if isinstance(result, ConditionsInvalid):
        assert all(result.errors.values())
    else:
        assert explain(result)


def _parse_or_refuse(given):
    try:
        return parse_conditions(given)
    except ConditionsInvalid as refused:
        return refused


def _matches_slowly(conditions, facts):
    """Decide each condition by listing what it allows, without a shortcut."""

    def has_domain(domain, patterns):
        labels = domain.split(".")
        parents = [".".join(labels[number:]) for number in range(1, len(labels))]
        return domain in patterns or any(f"*.{parent}" in patterns for parent in parents)

    def in_range(number, numbers: Range):
        low = 0 if numbers.least is None else numbers.least
        return number in range(low, (100 if numbers.most is None else numbers.most) + 1)

    checks = [in_range(facts.size, conditions.size), in_range(facts.recipients, conditions.recipients)]
    if conditions.sender_domain:
        checks.append(has_domain(facts.sender_domain, conditions.sender_domain))
    if conditions.recipient_domain:
        checks.append(bool([d for d in facts.recipient_domains if has_domain(d, conditions.recipient_domain)]))
    if conditions.tag:
        checks.append(bool(set(conditions.tag) & set(facts.tags)))
    if conditions.queue:
        checks.append(facts.queue in set(conditions.queue))
    if conditions.api_key:
        checks.append(facts.api_key in set(conditions.api_key))
    return all(checks)
