"""The alerts about provider accounts. A pure function of the situation."""

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

from mails.reporting import systemic_refusals
from mails.reporting.recent_failures import RECENT, RepeatedFailure
from mails.reporting.system_status import AccountStatus, SystemStatus
from providers.models import BreakerMode, BreakerState
from providers.outcomes import FailureClass

ENOUGH_REFUSALS = 3  # of an account for its own sake, or on this machine, before that is worth a word
ENOUGH_MAILS = 20  # sent by others while an account took none, before that means anything
FAILING = 0.5  # share of failed calls from which a breaker that is forced closed does harm


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong, in words. `tone`: `bad`: email is stopped or delayed. `waiting`: needs attention."""

    code: str
    tone: str
    about: str  # the queue or account; empty for the house
    sentence: str
    remedy: str
    since: dt.datetime | None = None
    emails: str = ""  # the query of the list of emails that it is about; empty where there is none


def find_account_alerts(situation: SystemStatus) -> Iterable[Alert]:
    """The alerts of all accounts."""
    enabled = [one for one in situation.accounts if one.enabled]
    if not enabled:
        yield Alert(
            "no_account",
            "bad",
            "",
            "No provider account is enabled: nothing can be sent.",
            "Enable one: manage.py providers enable NAME"
            if situation.accounts
            else "Add one: manage.py providers add NAME URL",
            since=max((one.since for one in situation.accounts if one.since), default=None),
            emails="state=queued",
        )
    elif not list_ready_accounts(situation) and all(one.configured and one.weight == 0 for one in enabled):
        yield Alert(
            "no_account",
            "bad",
            "",
            "Each enabled account has the weight 0: nothing can be sent.",
            "Give one a weight above 0 on its page.",
            emails="state=queued",
        )
    yield from _find_local_failures(situation)
    for one in enabled:
        yield from _check_account(one, situation)


def list_ready_accounts(situation: SystemStatus, *, but: str = "") -> list[str]:
    """Return the accounts that can take email now, without the one named."""
    return [
        one.name
        for one in situation.accounts
        if one.enabled
        and one.configured
        and one.weight
        and one.effective == BreakerState.CLOSED
        and not (one.limited_until and one.limited_until > situation.at)
        and one.name != but
    ]


def _find_local_failures(situation: SystemStatus) -> Iterable[Alert]:
    """Trouble of this machine is nobody else's fault, however many accounts it seems to hit."""
    troubles = [one for one in _select_ongoing(situation, FailureClass.LOCAL) if one.attempts >= ENOUGH_REFUSALS]
    if troubles:
        calls = sum(one.attempts for one in troubles)
        names = " and ".join(one.account for one in troubles)
        yield Alert(
            "local_trouble",
            "bad",
            "",
            f"{calls:,} requests to {names} failed in the last 15 minutes because of Mercury's own machine.",
            "The accounts are not the cause. Check open files (ulimit -n), DNS, disk and memory of the machine that runs the "
            "workers; the page of an email shows the error. Emails wait and are sent automatically.",
            since=min(one.since for one in troubles),
            emails="state=waiting" if len(troubles) > 1 else _query_waiting_at(troubles[0]),
        )


def _query_waiting_at(trouble: RepeatedFailure) -> str:
    return urlencode({"state": "waiting", "account": trouble.account})


def _select_ongoing(situation: SystemStatus, failure_class: FailureClass) -> list[RepeatedFailure]:
    return [one for one in situation.failures.repeated_failures if one.failure_class == failure_class and one.goes_on]


def _check_account(one: AccountStatus, situation: SystemStatus) -> Iterable[Alert]:
    if one.failure_mode_until is not None:
        yield Alert(
            "sandbox_fault",
            "waiting",
            one.name,
            f"{one.name} simulates a failure until {one.failure_mode_until:%H:%M:%S} UTC: {one.failure_mode}.",
            f"To end it now: manage.py sandbox clear {one.name}",
        )
    if one.mode == BreakerMode.CLOSED:
        yield _report_forced_closed(one, situation)
    if not one.configured:
        yield _report_unusable(one)
    elif one.mode == BreakerMode.OPEN:
        yield _report_forced_open(one, situation)
    elif one.mode == BreakerMode.AUTO and one.state != BreakerState.CLOSED:
        yield _report_open(one, situation)
    elif one.refuses or one.refused_emails:
        yield _report_systemic_refusals(one)
    elif one.failure_mode_until is None and (trouble := _find_refusals(one, situation)) is not None:
        yield _report_refusals(one, trouble, situation)
    elif one.failure_mode_until is None and (took := _count_accepted_by_others(one, situation)) is not None:
        yield Alert(
            "silent_failover",
            "bad",
            one.name,
            f"{one.name} is enabled but accepted no email for 15 minutes; other accounts accepted {took:,}.",
            f"Its key or its quota may have ended. Test it: manage.py providers test {one.name}",
            emails=urlencode({"account": one.name, "age": "1h"}),
        )


def _report_unusable(one: AccountStatus) -> Alert:
    return Alert(
        "account_unusable",
        "bad",
        one.name,
        f"{one.name} cannot be used: its options are missing in this process.",
        "Set its PROVIDER_ variable again, or MERCURY_ENCRYPTION_KEYS, and restart; or remove it: "
        f"manage.py providers remove {one.name}",
    )


def _report_forced_open(one: AccountStatus, situation: SystemStatus) -> Alert:
    others = list_ready_accounts(situation, but=one.name)
    return Alert(
        "breaker_open",
        "waiting" if others else "bad",
        one.name,
        f"The breaker of {one.name} is forced open{_name_author(one)}: it gets no email.",
        f"{_describe_replacement(others)} When it works again: manage.py providers breaker {one.name} auto",
        since=one.since,
    )


def _report_open(one: AccountStatus, situation: SystemStatus) -> Alert:
    last = f" Last failure: {one.last_failure}" if one.last_failure else ""
    return Alert(
        "breaker_open",
        "bad",
        one.name,
        f"The breaker of {one.name} is {one.state.label.lower()} ({one.words}).{last}",
        f"{_describe_replacement(list_ready_accounts(situation, but=one.name))} It closes automatically when a probe is accepted.",
        since=one.since,
        emails=urlencode({"account": one.name, "state": "waiting"}),
    )


def _report_forced_closed(one: AccountStatus, situation: SystemStatus) -> Alert:
    figures = next((figures for figures in situation.recent if figures.name == one.name), None)
    fails = figures is not None and figures.attempts >= ENOUGH_REFUSALS and figures.failure_rate >= FAILING
    harm = f", and {figures.failure_rate:.0%} of its requests fail" if figures is not None and fails else ""
    return Alert(
        "breaker_forced_closed",
        "bad" if fails else "waiting",
        one.name,
        f"The breaker of {one.name} is forced closed{_name_author(one)}{harm}: it gets email regardless of errors.",
        f"Return it to automatic: manage.py providers breaker {one.name} auto",
        since=one.since,
        emails=urlencode({"account": one.name, "age": "1h"}),
    )


def _report_systemic_refusals(one: AccountStatus) -> Alert:
    """Of a spell in which the account refused all emails; once it accepts again, of what is left to be done."""
    ended = one.refused_emails
    emails = "1 email" if ended == 1 else f"{ended:,} emails"
    again = f"Reprocess the {emails} discarded before this was detected: manage.py reprocess --refusals-of {one.name}"
    if one.refuses:
        sentence = (
            f"{one.name} refuses every email, so email waits or goes to other accounts. Its reply: {one.refusal_reason}"
        )
        remedy = (
            "Check its domain, its senders and its reputation at the provider. This alert ends when it accepts an "
            f"email again.{f' {again}' if ended else ''}"
        )
    else:
        sentence = f"{one.name} refused every email for some time. It accepts email again."
        remedy = again
    return Alert(
        "systemic_refusals",
        "bad" if one.refuses else "waiting",
        one.name,
        sentence,
        remedy,
        since=one.refused_since,
        emails=urlencode({"state": "discarded", "q": f"{systemic_refusals.WORD}{one.name}"}) if ended else "",
    )


def _find_refusals(one: AccountStatus, situation: SystemStatus) -> RepeatedFailure | None:
    """What the account refused for its own sake, such as a key that it does not know (401), if that goes on."""
    found = (trouble for trouble in _select_ongoing(situation, FailureClass.ACCOUNT) if trouble.account == one.name)
    trouble = next(found, None)
    return trouble if trouble is not None and trouble.attempts >= ENOUGH_REFUSALS else None


def _report_refusals(one: AccountStatus, trouble: RepeatedFailure, situation: SystemStatus) -> Alert:
    others = list_ready_accounts(situation, but=one.name)
    detour = (
        f" Until it works, disable it: manage.py providers disable {one.name}"
        if others
        else " Leave it enabled: emails wait and are retried."
    )
    return Alert(
        "account_refuses",
        "bad",
        one.name,
        f"{one.name} refused {trouble.attempts:,} requests in the last 15 minutes because of the account: its key, its quota or its "
        "permissions.",
        f"{_describe_replacement(others)} See its reply: manage.py providers test {one.name}.{detour}",
        since=trouble.since,
        emails=urlencode({"account": one.name, "age": "1h"}),
    )


def _describe_replacement(others: list[str]) -> str:
    """Where the email of an account goes that takes none."""
    if not others:
        return "No other account is available: email waits."
    return f"Its email goes to {' and '.join(others)}; nothing is lost."


def _name_author(one: AccountStatus) -> str:
    return f" by {one.by}" if one.by else ""


def _count_accepted_by_others(one: AccountStatus, situation: SystemStatus) -> int | None:
    """How many emails others took while this account should have taken some and took none; None if all is well.

    An account that changed within these 15 minutes had no fair chance.
    """
    if one.changed_at is not None and one.changed_at > situation.at - RECENT:
        return None
    taken = {figures.name: figures.accepted for figures in situation.recent}
    others = sum(count for name, count in taken.items() if name != one.name)
    weights = sum(other.weight for other in situation.accounts if other.enabled)
    fair_share = (others * one.weight / weights) if weights else 0
    return others if not taken.get(one.name) and others >= ENOUGH_MAILS and fair_share >= ENOUGH_MAILS / 4 else None
