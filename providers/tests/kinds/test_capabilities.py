"""What a kind can carry, as routing asks and as people read it."""

import pytest

from providers.kinds.capabilities import IN_MIME, MEGABYTE, SIZES, Capabilities, Feature, MessageTraits
from providers.kinds.catalog import KEEP_EMAILS, KINDS, SIMULATE_FAILURES, delivers


def _make(**changes):
    stated = {
        "features": IN_MIME,
        "keeps_message_id": True,
        "sends_exact_bytes": False,
        "shows_all_recipients": False,
        "answers_per_recipient": False,
        "reports_delivery": True,
    }
    return Capabilities(**(stated | changes))


@pytest.mark.parametrize(
    ("changes", "traits", "reason"),
    [
        ({}, {}, ""),
        ({}, {"features": {Feature.HTML, Feature.CC}}, ""),
        ({"features": frozenset()}, {"features": {Feature.INLINE}}, "it cannot carry inline images"),
        (
            {"features": frozenset()},
            {"features": {Feature.INLINE, Feature.HTML, Feature.CC}},
            "it cannot carry HTML, Cc and inline images",
        ),
        ({"features": frozenset()}, {"features": {Feature.TAGS, Feature.METADATA}}, ""),
        ({"max_size": 1000}, {"size": 1000}, ""),
        ({"max_size": 1000}, {"size": 1001}, "it carries at most 1,000 bytes"),
        ({}, {"size": 10**12}, ""),
        ({"max_recipients": 1}, {"recipients": 2}, ""),
        ({"sends_text_alone": False}, {}, ""),
    ],
)
def test_why_a_message_cannot_be_carried(changes, traits, reason):
    wanted = MessageTraits(**(traits | {"features": frozenset(traits.get("features", ()))}))

    assert _make(**changes).explain_missing(wanted) == reason


def test_attachments_grow_on_their_way():
    traits = MessageTraits(size=5_700_000, features=frozenset({Feature.ATTACHMENTS}))

    assert _make(max_size=7_800_000).explain_missing(traits) == ""
    assert _make(max_size=7_000_000).explain_missing(traits) == ("it carries at most 7,000,000 bytes")


def test_needs_are_stored_without_what_mercury_keeps_itself():
    needs = MessageTraits(features=frozenset(Feature)).needs

    assert MessageTraits.from_needs(needs).features == frozenset(Feature) - {Feature.TAGS, Feature.METADATA}
    assert MessageTraits.from_needs("") == MessageTraits()
    with pytest.raises(ValueError, match="pigeons"):
        MessageTraits.from_needs("pigeons")


@pytest.mark.parametrize(
    ("size", "needs"),
    [(2_000_000, ""), (2_000_001, "10MB"), (10_000_001, "15MB"), (25_000_000, "25MB"), (100_000_001, "101MB")],
)
def test_a_large_message_counts_as_large_as_the_next_limit(size, needs):
    assert MessageTraits(size=size).needs == needs
    assert MessageTraits.from_needs(needs).sent_size >= (size if needs else 0)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_routing_can_tell_the_limit_of_each_kind(kind):
    """Otherwise a message that it carries would count as a larger one."""
    assert kind.capabilities.max_size in (None, *(size * MEGABYTE for size in SIZES))


def test_the_size_of_attachments_is_not_counted_twice():
    traits = MessageTraits(size=14_000_000, features=frozenset({Feature.ATTACHMENTS}))

    assert traits.needs == "attachments,20MB"
    assert 19_900_000 < MessageTraits.from_needs(traits.needs).sent_size <= 20_000_000


def test_each_feature_and_each_stated_capability_is_named_once():
    capabilities = _make(features=frozenset({Feature.HTML, Feature.CC}), max_size=30_000_000, max_recipients=1000)

    words_shown = "; ".join([*capabilities.can, *capabilities.cannot])

    assert capabilities.can[:3] == (
        "carry HTML and Cc",
        "carry up to 30 MB",
        "send to 1,000 recipients in a request",
    )
    assert [feature for feature in Feature if words_shown.count(feature.meaning) != 1] == []
    assert "keep the Message-ID" in capabilities.can
    assert "answer for each recipient" in capabilities.cannot


def test_what_only_a_sandbox_does_is_not_said_of_the_others():
    assert "deliver email" not in _make().can + _make().cannot
    assert "deliver email" in _make(delivers=False).cannot
    assert "keep every email for you to read" in _make(keeps_emails=True).can
    assert "keep every email for you to read" not in _make().cannot


def test_what_only_some_kinds_do_is_said_of_them_alone():
    capabilities = _make(sends_text_alone=False, idempotency_hours=0.25)

    assert "recognize a repeated request for 15 min, and send no second copy" in capabilities.can
    assert "send a text without an HTML version of it" in capabilities.cannot
    assert "repeated request" not in "; ".join(_make().can + _make().cannot)
    assert "HTML version" not in "; ".join(_make().can + _make().cannot)


@pytest.mark.parametrize(
    ("never_empty", "words"),
    [
        ({"body"}, "send an empty body (a space is sent)"),
        ({"body", "subject"}, "send an empty subject or body (a space is sent)"),
    ],
)
def test_what_is_never_sent_empty_is_named(never_empty, words):
    assert words in _make(never_empty=frozenset(never_empty)).cannot


def test_the_sandbox_alone_keeps_emails_and_delivers_none():
    assert KEEP_EMAILS == SIMULATE_FAILURES == {key for key in KINDS if not delivers(key)} == {"sandbox"}
    assert delivers("unknown")
