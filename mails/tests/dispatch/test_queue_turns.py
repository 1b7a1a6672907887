"""Which queues a claim pass serves, and how many slots each may fill."""

import pytest

from mails.dispatch.due.pacing import Pacing
from mails.dispatch.due.queue_turns import QueueLimit, list_turns
from mails.queues import QueueName

SHARES = {"text": 100, "html": 100, "attachment": 75, "large": 25, "bulk": 50}
SLOTS = 64  # a pass of bulk takes 8 emails, and as many slots are kept free for text


def turns(due, in_progress=None, *, free=None, queues=tuple(SHARES), permits=None, slots=SLOTS):
    """Return the rooms by queue, in their order."""
    used = in_progress or {}
    limits = {queue: QueueLimit(share=SHARES[queue]) for queue in queues}
    limits |= {queue: QueueLimit(share=SHARES[queue], permits=number) for queue, number in (permits or {}).items()}
    left = slots - sum(used.values()) if free is None else free
    return {turn.queue: turn.room for turn in list_turns(due, used, limits, slots=slots, free=left)}


@pytest.mark.parametrize(
    ("due", "in_progress", "expected"),
    [
        (["text"], {}, {"text": 64}),  # an urgent queue may use everything
        (["text", "html"], {}, {"text": 32, "html": 32}),  # two of them get the same
        (["bulk"], {}, {"bulk": 8}),  # a pass of others is short
        (["bulk"], {"bulk": 48}, {"bulk": 8}),  # alone it may use more than its share …
        (["bulk"], {"bulk": 52}, {}),  # … but no slots that are kept free …
        (["bulk"], {"bulk": 52, "text": 8}, {}),  # … nor a few, which would not be worth a pass …
        (["bulk"], {"bulk": 48, "text": 8}, {"bulk": 8}),  # … unless urgent email is in them already
        (["text"], {"bulk": 56}, {"text": 8}),  # so that text finds a free slot
        (["text", "bulk"], {}, {"text": 56, "bulk": 8}),
        (["text", "bulk"], {"bulk": 32}, {"text": 32}),  # its share, while text is due
        (["text", "bulk"], {"bulk": 24}, {"text": 32, "bulk": 8}),
        (["text", "bulk"], {"text": 56}, {"text": 4, "bulk": 4}),  # a flood of text cannot starve it
        (["bulk", "attachment"], {}, {"attachment": 8, "bulk": 8}),  # one of them is served: the first that can be
        (
            ["bulk", "attachment"],
            {"attachment": 8},
            {"bulk": 8, "attachment": 8},
        ),  # that which fills least of its share
        (["large", "bulk"], {"large": 1, "bulk": 1}, {"bulk": 8, "large": 8}),
        (["large", "bulk"], {"large": 16}, {"bulk": 8}),
    ],
)
def test_a_pass_serves_urgent_queues_first_and_one_other(due, in_progress, expected):
    found = turns(due, in_progress)

    assert found == expected
    assert list(found) == list(expected)


def test_a_dispatcher_of_one_queue_gives_it_everything():
    assert turns(["bulk"], {"bulk": 4}, queues=["bulk"]) == {"bulk": 60}


@pytest.mark.parametrize(("slots", "expected"), [(1, {"bulk": 1}), (2, {"bulk": 1}), (7, {"bulk": 1})])
def test_a_dispatcher_with_few_slots_keeps_none_free(slots, expected):
    assert turns(["bulk"], slots=slots) == expected


def test_a_rate_limit_grants_the_rest():
    assert turns(["text", "bulk"], permits={"bulk": 3, "text": 2}) == {"text": 2, "bulk": 3}
    assert turns(["bulk"], permits={"bulk": 0}) == {}


@pytest.mark.parametrize("free", range(1, 20))
@pytest.mark.parametrize("due", [["text", "bulk"], ["text", "html", "bulk"], list(QueueName.values)])
def test_a_pass_asks_for_no_more_than_is_free_and_always_for_text(due, free):
    found = list_turns(due, {}, {queue: QueueLimit(share=SHARES[queue]) for queue in SHARES}, slots=SLOTS, free=free)
    urgent = [turn.room for turn in found if turn.is_urgent]
    others = [turn.room for turn in found if not turn.is_urgent]

    assert found[0].queue == "text"
    assert sum(urgent) + max(others, default=0) <= max(free, len(urgent))


@pytest.mark.parametrize(
    ("urgent", "others", "rest"),
    [
        (True, True, 2.0),  # four times the half second that the pass took
        (True, False, 0.0),
        (False, True, 0.0),  # nobody waits for it
    ],
)
def test_others_rest_after_their_passes_while_urgent_email_arrives(urgent, others, rest):
    pacing = Pacing()

    pacing.note_pass(10.0, urgent=urgent, others=others, now=10.5)

    assert pacing.count_rest(10.5) == rest
    assert pacing.count_rest(10.75) == max(0.0, rest - 0.25)


def test_others_rest_no_more_once_no_urgent_email_has_arrived_for_a_while():
    pacing = Pacing()
    pacing.note_pass(10.0, urgent=True, others=False, now=10.5)

    pacing.note_pass(12.0, urgent=False, others=True, now=12.5)

    assert pacing.count_rest(12.5) == 0.0
