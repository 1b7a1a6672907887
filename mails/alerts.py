"""What an operator should know now, each with its cure. A pure function of the situation."""

from collections.abc import Iterable
from dataclasses import dataclass

from mails.situation import Situation, Standing, Waiting
from mercury.lib.durations import size_words, words
from providers.models import BreakerMode, BreakerState
from providers.outcomes import Fault

LONG_DUE = 60.0  # seconds that a due mail may wait for a worker
LONG_UNSENT = 15 * 60.0  # seconds after which a mail that nobody has taken is worth a word
LATE_FIGURES = 180.0  # seconds
DISK_SHARE = 0.05  # free …
DISK_BYTES = 1_000_000_000  # … or so much: below either the disk counts as nearly full
ENOUGH_REFUSALS = 3  # of an account for its own sake, before that is worth a word
ENOUGH_MAILS = 20  # sent by others while an account took none, before that means anything


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong, in words. `tone`: `bad` for what stops or loses time, `waiting` for what to look at."""

    code: str
    tone: str
    about: str  # the lane or account; empty for the house
    sentence: str
    cure: str


def of(situation: Situation) -> list[Alert]:
    """All alerts, the worst first."""
    found = [
        *_house(situation),
        *_workers(situation),
        *(alert for lane in situation.waiting for alert in _lane(lane)),
        *_accounts(situation),
        *_held(situation),
        *_expired(situation),
        *_machines(situation),
    ]
    return sorted(found, key=lambda alert: alert.tone != "bad")


def verdict(situation: Situation, alerts: list[Alert]) -> str:
    """The state in one sentence."""
    if alerts:
        more = len(alerts) - 1
        return alerts[0].sentence + (f" {more} more {'alert' if more == 1 else 'alerts'}." if more else "")
    due = sum(lane.due for lane in situation.waiting)
    later = sum(lane.later for lane in situation.waiting)
    waits = f"{due:,} {'mail waits' if due == 1 else 'mails wait'}" if due else "No mail waits"
    back_off = f", {later:,} in back-off" if later else ""
    workers = len(situation.alive)
    return f"All is well. {waits}{back_off}; {workers} {'worker' if workers == 1 else 'workers'} at work."


def _house(situation: Situation) -> Iterable[Alert]:
    if situation.house_held_by is not None:
        yield Alert(
            "house_held",
            "bad",
            "",
            f"Sending is paused by {situation.house_held_by}: emails are accepted and kept, and nothing is sent.",
            "Look at what waits (manage.py mails --state queued), then: manage.py release --all",
        )


def _workers(situation: Situation) -> Iterable[Alert]:
    if not situation.alive:
        lost = max((one.seen_at for one in situation.workers), default=None)
        last = (
            f" The last one that was lost was heard of {words((situation.at - lost).total_seconds())} ago."
            if lost
            else ""
        )
        yield Alert(
            "no_worker",
            "bad",
            "",
            f"No worker is at work: nothing is sent.{last}",
            "Start one: manage.py worker. Embedded (no REDIS_URL), restart the web process.",
        )
    elif situation.counted_until and (late := (situation.at - situation.counted_until).total_seconds()) > LATE_FIGURES:
        yield Alert(
            "figures_late",
            "waiting",
            "",
            f"Arrivals are counted up to {words(late)} ago only.",
            "They are made up for by themselves; if this grows, look for duty_failed in the workers' logs.",
        )


def _lane(lane: Waiting) -> Iterable[Alert]:
    if lane.paused_at is not None:
        waits = lane.due + lane.later
        why = f" (“{lane.paused_note}”)" if lane.paused_note else ""
        yield Alert(
            "lane_paused",
            "bad",
            lane.lane,
            f"Lane {lane.lane} is paused since {lane.paused_at:%Y-%m-%d %H:%M} UTC by {lane.paused_by}{why}: "
            f"{waits:,} {'mail waits' if waits == 1 else 'mails wait'}.",
            f"When they may leave, resume it on the overview, or: manage.py lanes resume {lane.lane}",
        )
    elif lane.oldest is not None and lane.oldest > LONG_DUE:
        yield Alert(
            "oldest_waiting",
            "bad",
            lane.lane,
            f"In lane {lane.lane} {lane.due:,} mails are due, the oldest for {words(lane.oldest)}.",
            f"Start more workers (manage.py worker {lane.lane}), or see below why accounts take none.",
        )


def _accounts(situation: Situation) -> Iterable[Alert]:
    usable = [one for one in situation.accounts if one.enabled]
    if not usable:
        yield Alert(
            "no_account",
            "bad",
            "",
            "No provider account is enabled: nothing can be sent.",
            "Enable one: manage.py providers enable NAME",
        )
    for one in usable:
        yield from _account(one, situation)
    if situation.oldest_unsent is not None and situation.oldest_unsent > LONG_UNSENT:
        yield Alert(
            "oldest_unsent",
            "waiting",
            "",
            f"The oldest unsent mail came in {words(situation.oldest_unsent)} ago.",
            "See why: manage.py mails --state waiting; manage.py mail ID",
        )


def _account(one: Standing, situation: Situation) -> Iterable[Alert]:
    if one.told_until is not None:
        yield Alert(
            "sandbox_fault",
            "waiting",
            one.name,
            f"The sandbox {one.name} is told to misbehave until {one.told_until:%H:%M:%S} UTC: {one.told}.",
            f"To end it now: manage.py sandbox clear {one.name}",
        )
    if not one.configured:
        yield Alert(
            "account_unusable",
            "bad",
            one.name,
            f"{one.name} cannot be used: this process has no options for it.",
            "Set its PROVIDER_ variable again, or MERCURY_ENCRYPTION_KEYS, and restart; or disable it.",
        )
    elif one.mode == BreakerMode.OPEN:
        yield Alert(
            "breaker_open",
            "waiting",
            one.name,
            f"The breaker of {one.name} is forced open: it takes no mail.",
            f"{_who_takes_it(one, situation)} When it is well again: manage.py providers breaker {one.name} auto",
        )
    elif one.state != BreakerState.CLOSED and one.mode == BreakerMode.AUTO:
        fault = f" The last fault: {one.last_fault}" if one.last_fault else ""
        yield Alert(
            "breaker_open",
            "bad",
            one.name,
            f"The breaker of {one.name} is {one.state.label.lower()} ({one.words}).{fault}",
            f"{_who_takes_it(one, situation)} It closes by itself when a probe is answered.",
        )
    elif one.told_until is None and (refused := _refused_as_account(one, situation)) >= ENOUGH_REFUSALS:
        yield Alert(
            "account_refuses",
            "bad",
            one.name,
            f"{one.name} refused {refused:,} calls in the last 15 minutes for the account's sake: its key, its quota, or what it may send.",
            f"{_who_takes_it(one, situation)} See what it says: manage.py providers test {one.name}. Until it is mended, spare each "
            f"mail the detour: manage.py providers disable {one.name}",
        )
    elif one.told_until is None and (took := _took_nothing(one, situation)) is not None:
        yield Alert(
            "silent_failover",
            "bad",
            one.name,
            f"{one.name} is enabled and took no mail for 15 minutes, while others took {took:,}.",
            f"Try it: manage.py providers test {one.name}. Its key or its quota may be at an end.",
        )


def _who_takes_it(one: Standing, situation: Situation) -> str:
    """Where the mail of an account goes whose breaker is open."""
    ready = [
        other.name
        for other in situation.accounts
        if other.enabled and other.configured and other.effective == BreakerState.CLOSED and other.name != one.name
    ]
    if not ready:
        return "No other account is ready: mails are kept, and wait."
    return f"Its mail goes to {' and '.join(ready)}; nothing is lost."


def _refused_as_account(one: Standing, situation: Situation) -> int:
    """How many of its recent calls the account refused for its own sake, such as a key that it does not know (401)."""
    return sum(figures.refused.get(Fault.ACCOUNT, 0) for figures in situation.recent if figures.name == one.name)


def _took_nothing(one: Standing, situation: Situation) -> int | None:
    """How many mails others took while this account should have taken some and took none; None if all is well."""
    taken = {figures.name: figures.accepted for figures in situation.recent}
    others = sum(count for name, count in taken.items() if name != one.name)
    weights = sum(other.weight for other in situation.accounts if other.enabled)
    fair_share = (others * one.weight / weights) if weights else 0
    return others if not taken.get(one.name) and others >= ENOUGH_MAILS and fair_share >= ENOUGH_MAILS / 4 else None


def _held(situation: Situation) -> Iterable[Alert]:
    held = situation.held
    if held.unknown:
        yield Alert(
            "held_unknown",
            "waiting",
            "",
            f"{_mails(held.unknown)} held: {'its outcome is' if held.unknown == 1 else 'their outcomes are'} unknown.",
            "Ask the provider, then say what it was: manage.py settle ID --sent or --not-sent",
        )
    if held.poison:
        yield Alert(
            "held_poison",
            "bad",
            "",
            f"{_mails(held.poison)} held as poison: two workers died with {'it' if held.poison == 1 else 'each'}.",
            "Look at one (manage.py mails --state held) and at the workers' logs before you release it.",
        )
    if held.operator:
        yield Alert(
            "held_operator",
            "waiting",
            "",
            f"{_mails(held.operator)} held by an operator.",
            "When they may leave: manage.py release IDS",
        )


def _expired(situation: Situation) -> Iterable[Alert]:
    if situation.expired:
        them = "it" if situation.expired == 1 else "them"
        yield Alert(
            "expired",
            "bad",
            "",
            f"{situation.expired:,} {'mail' if situation.expired == 1 else 'mails'} expired in the last 24 hours: "
            f"no account took {them} in time.",
            f"See why (manage.py mails --state expired), and send {them} anew where it is not too late: "
            "manage.py reprocess ID",
        )


def _machines(situation: Situation) -> Iterable[Alert]:
    if situation.redis == "away":
        yield Alert(
            "redis_away",
            "waiting",
            "",
            "Redis does not answer: mails leave up to two seconds later than otherwise.",
            "Start it again. Nothing is lost, and nothing else needs to be done.",
        )
    if situation.disk_free < DISK_SHARE or situation.disk_free_bytes < DISK_BYTES:
        yield Alert(
            "disk_nearly_full",
            "bad",
            "",
            f"The disk of the data folder has {size_words(situation.disk_free_bytes)} left ({situation.disk_free:.0%}).",
            "Make room: when it is full, no mail can be taken.",
        )


def _mails(count: int) -> str:
    return "1 mail is" if count == 1 else f"{count:,} mails are"
