"""Recipients of one email at a provider that judges them together: who is at fault gets none, the others get theirs.

An API refuses a whole call because of one address. Such a refusal is surely not sent, so the call is made again without
that recipient, within the same attempt. Where the answer does not name it, the recipients are halved until it is found.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from providers.kinds.rejected_recipients import RejectedRecipients
from providers.outcomes import Accepted, FailureClass, Outcome, RecipientRefusal, Refused, Unknown

MOST_CALLS = 32  # of one attempt: enough to find one address among thousands


NEXT_CALL = "This call was made without it."


Send = Callable[[Sequence[str]], Awaitable[tuple[Outcome, RejectedRecipients]]]


def group_spellings(addresses: Sequence[str]) -> dict[str, list[str]]:
    """Return the addresses that get a copy, each with all its spellings. Upper and lower case make no difference.

    SendGrid refuses a call with two spellings of one address, and Mailgun would deliver two copies.
    """
    spellings: dict[str, list[str]] = {}
    for address in addresses:
        spellings.setdefault(address.lower(), []).append(address)
    return {same[0]: same for same in spellings.values()}


async def send_to_all(addresses: Sequence[str], send: Send, *, time_left: Callable[[], float]) -> Outcome:
    """Send to these addresses, without those that the provider finds fault with, and return what came of it.

    `send`: one call, to some of them. `time_left`: seconds that another call would have.
    """
    copies = group_spellings(addresses)
    asked, left_out, words = list(copies), list[str](), dict[str, str]()
    calls = 0
    while True:
        calls += 1
        outcome, blame = await send(asked)
        if not isinstance(outcome, Refused) or not (blame.words or blame.some):
            return _with_recipients(outcome, copies, words, left_out)
        words |= blame.words or ({asked[0]: outcome.reason} if len(asked) == 1 else {})
        if not blame.words and len(asked) > 1:
            half = len(asked) // 2
            asked, left_out = asked[:half], asked[half:] + left_out
        asked = [address for address in asked if address not in words]
        if not asked:
            asked, left_out = left_out, []
        if not asked:
            return _all_refused(outcome, copies, words)
        if calls == MOST_CALLS or time_left() <= 0:
            return replace(outcome, fault=FailureClass.RECIPIENT, refused=_refusals(copies, words))


def _with_recipients(
    outcome: Outcome, copies: Mapping[str, Sequence[str]], words: Mapping[str, str], left_out: Sequence[str]
) -> Outcome:
    match outcome:
        case Accepted():
            waiting = tuple(
                RecipientRefusal(spelling, NEXT_CALL, permanent=False, next_call=True)
                for address in left_out
                for spelling in copies[address]
            )
            return replace(outcome, refused=_refusals(copies, words) + waiting)
        case Unknown() if words or left_out:
            without = ", ".join([*words, *left_out])
            return replace(outcome, reason=f"{outcome.reason} This call was made without {without}."[:2048])
    return outcome


def _refusals(copies: Mapping[str, Sequence[str]], words: Mapping[str, str]) -> tuple[RecipientRefusal, ...]:
    return tuple(
        RecipientRefusal(spelling, why, permanent=True, fault=FailureClass.MESSAGE)
        for address, why in words.items()
        for spelling in copies[address]
    )


def _all_refused(outcome: Refused, copies: Mapping[str, Sequence[str]], words: Mapping[str, str]) -> Refused:
    return replace(outcome, fault=FailureClass.MESSAGE, refused=_refusals(copies, words))
