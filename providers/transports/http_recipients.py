"""Send one email to many recipients at a provider that rejects some of them.

Some providers refuse a whole call because of one address. Such a refusal is surely not sent. So the call is repeated without
that recipient, within the same attempt. If the answer does not name it, the recipients are halved until it is found. Others
accept the call, and name the recipients that get nothing.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace

from providers.kinds.rejected_recipients import RejectedRecipients
from providers.outcomes import Accepted, FailureClass, Outcome, RecipientRefusal, Refused, Unknown

MOST_CALLS = 32  # of one attempt; enough to find one address among thousands


NEXT_CALL = "This request was made without it."


Send = Callable[[Sequence[str]], Awaitable[tuple[Outcome, RejectedRecipients]]]


def group_spellings(addresses: Sequence[str]) -> dict[str, list[str]]:
    """Return the addresses that get a copy, each with all its spellings. Case makes no difference.

    SendGrid refuses a call with two spellings of one address, and Mailgun would deliver two copies.
    """
    spellings: dict[str, list[str]] = {}
    for address in addresses:
        spellings.setdefault(address.lower(), []).append(address)
    return {same[0]: same for same in spellings.values()}


async def send_to_all(
    addresses: Sequence[str],
    send: Send,
    *,
    time_left: Callable[[], float],
    most: int | None = None,
    blind: Collection[str] = (),
) -> Outcome:
    """Send to these addresses, without those that the provider rejects, and return the outcome.

    `send`: makes one call to some of them, to `most` at most; the others get a further call. `time_left`: seconds left for
    another call. `blind`: those that get a blind copy.
    """
    copies = group_spellings(addresses)
    (asked, excluded), reasons = _split(list(copies), most), dict[str, str]()
    calls = 0
    while True:
        calls += 1
        if len(asked) > 1 and all(address in blind for address in asked):  # one would be in To, which the others see
            asked, excluded = asked[:1], asked[1:] + excluded
        outcome, rejected = await send(asked)
        if calls > 1 and isinstance(outcome, Accepted | Unknown):
            outcome = replace(outcome, is_first_request=False)
        if isinstance(outcome, Accepted) and rejected.reasons:
            outcome = _accept_others(outcome, asked, rejected)
            reasons |= rejected.reasons
        if not isinstance(outcome, Refused) or not (rejected.reasons or rejected.has_unnamed):
            return _add_recipients(outcome, copies, reasons, excluded)
        reasons |= rejected.reasons or ({asked[0]: outcome.reason} if len(asked) == 1 else {})
        if not rejected.reasons and len(asked) > 1:
            half = len(asked) // 2
            asked, excluded = asked[:half], asked[half:] + excluded
        asked = [address for address in asked if address not in reasons]
        if not asked:
            asked, excluded = _split(excluded, most)
        if not asked:
            return _refuse_all(outcome, copies, reasons)
        if calls == MOST_CALLS or time_left() <= 0:
            return replace(outcome, failure_class=FailureClass.RECIPIENT, refused=_build_refusals(copies, reasons))


def _accept_others(outcome: Accepted, asked: Sequence[str], rejected: RejectedRecipients) -> Accepted | Refused:
    """Return the outcome of an accepted call that rejects some recipients: a refusal if it rejects all."""
    if any(address not in rejected.reasons for address in asked):
        return outcome
    return Refused(
        failure_class=FailureClass.MESSAGE,
        reason_code="all-rejected",
        reason=next(iter(rejected.reasons.values())),
        status_code=outcome.status_code,
    )


def _split(addresses: list[str], most: int | None) -> tuple[list[str], list[str]]:
    """Return those of the next call, and the others."""
    return (addresses, []) if most is None else (addresses[:most], addresses[most:])


def _add_recipients(
    outcome: Outcome, copies: Mapping[str, Sequence[str]], reasons: Mapping[str, str], excluded: Sequence[str]
) -> Outcome:
    match outcome:
        case Accepted() if reasons or excluded:
            waiting = tuple(
                RecipientRefusal(address=spelling, reason=NEXT_CALL, permanent=False, next_call=True)
                for address in excluded
                for spelling in copies[address]
            )
            return replace(outcome, refused=_build_refusals(copies, reasons) + waiting)
        case Unknown() if reasons or excluded:
            without = ", ".join([*reasons, *excluded])
            return replace(outcome, reason=f"{outcome.reason} This request was made without {without}."[:2048])
    return outcome


def _build_refusals(copies: Mapping[str, Sequence[str]], reasons: Mapping[str, str]) -> tuple[RecipientRefusal, ...]:
    return tuple(
        RecipientRefusal(address=spelling, reason=why, permanent=True, failure_class=FailureClass.MESSAGE)
        for address, why in reasons.items()
        for spelling in copies[address]
    )


def _refuse_all(outcome: Refused, copies: Mapping[str, Sequence[str]], reasons: Mapping[str, str]) -> Refused:
    return replace(outcome, failure_class=FailureClass.MESSAGE, refused=_build_refusals(copies, reasons))
