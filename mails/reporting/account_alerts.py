"""The alerts about provider accounts. A pure function of the system status."""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from mails.reporting import systemic_refusals
from mails.reporting.bound_email import BoundEmail
from mails.reporting.missed_email import MissedEmail
from mails.reporting.recent_failures import RECENT, RepeatedFailure
from mails.reporting.stuck_rules import StuckRule
from mails.reporting.system_status import AccountStatus, SystemStatus
from mercury.lib.durations import format_moment
from providers.models import BreakerMode, BreakerState
from providers.outcomes import FailureClass
from providers.routing.quota_status import QuotaStatus

ENOUGH_REFUSALS = 3  # because of the account itself, or of this machine, before an alert
ENOUGH_MAILS = 20  # accepted by other accounts while one accepted none, before an alert
NAMED_AT_MOST = 5  # rules in a sentence
FAILING = 0.5  # share of failed calls from which a breaker that is forced closed is critical


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A problem in words. `tone`: `bad` (critical) or `waiting` (warning)."""

    code: str
    tone: str
    about: str  # the queue or account; empty for the instance
    sentence: str
    remedy: str
    since: dt.datetime | None = None
    emails: str = ""  # the query of the list of affected emails; empty where there is none


def find_account_alerts(status: SystemStatus) -> Iterable[Alert]:
    """Yield the alerts of all accounts."""
    enabled = [account for account in status.accounts if account.enabled]
    if not enabled:
        yield Alert(
            code="no_account",
            tone="bad",
            about="",
            sentence="No provider account is enabled: nothing can be sent.",
            remedy="Enable one: manage.py providers enable NAME"
            if status.accounts
            else "Add one: manage.py providers add NAME URL",
            since=max((account.since for account in status.accounts if account.since), default=None),
            emails="state=queued",
        )
    elif not _list_ready_accounts(status) and all(account.configured and account.weight == 0 for account in enabled):
        yield Alert(
            code="no_account",
            tone="bad",
            about="",
            sentence="Each enabled account has the weight 0: nothing can be sent.",
            remedy="Give one a weight above 0 on its page.",
            emails="state=queued",
        )
    yield from _find_local_failures(status)
    for account in enabled:
        yield from _check_account(account, status)
    if enabled:
        yield from map(_report_stuck_rule, status.stuck_rules)


def list_accepting_accounts(status: SystemStatus) -> list[str]:
    """Return the accounts that email is offered to now, without those that refuse every request."""
    refusing = {
        account.name
        for account in status.accounts
        if account.refuses or account.refuses_requests or _find_refusals(account, status) is not None
    }
    return [name for name in _list_ready_accounts(status) if name not in refusing]


def _list_ready_accounts(status: SystemStatus) -> list[str]:
    return [account.name for account in status.accounts if account.is_ready(status.at)]


def _find_local_failures(status: SystemStatus) -> Iterable[Alert]:
    """Yield an alert if attempts fail because of this machine: no account is to blame."""
    failures = [
        failure for failure in _select_ongoing(status, FailureClass.LOCAL) if failure.attempts >= ENOUGH_REFUSALS
    ]
    if failures:
        calls = sum(failure.attempts for failure in failures)
        names = " and ".join(failure.account for failure in failures)
        yield Alert(
            code="local_trouble",
            tone="bad",
            about="",
            sentence=f"{calls:,} requests to {names} failed in the last 15 minutes because of Mercury's own machine.",
            remedy="The accounts are not the cause. Check open files (ulimit -n), DNS, disk and memory of the machine that runs the "
            "workers; the page of an email shows the error. Emails wait and are sent automatically.",
            since=min(failure.since for failure in failures),
            emails="state=waiting" if len(failures) > 1 else _query_waiting_at(failures[0]),
        )


def _query_waiting_at(failure: RepeatedFailure) -> str:
    return urlencode({"state": "waiting", "account": failure.account})


def _select_ongoing(status: SystemStatus, failure_class: FailureClass) -> list[RepeatedFailure]:
    return [
        failure
        for failure in status.failures.repeated_failures
        if failure.failure_class == failure_class and failure.is_ongoing
    ]


def _check_account(account: AccountStatus, status: SystemStatus) -> Iterable[Alert]:
    if account.failure_mode_until is not None:
        yield Alert(
            code="sandbox_fault",
            tone="waiting",
            about=account.name,
            sentence=f"{account.name} simulates a failure until {account.failure_mode_until:%H:%M:%S} UTC: {account.failure_mode}.",
            remedy=f"To end it now: manage.py sandbox clear {account.name}",
        )
    if account.mode == BreakerMode.CLOSED:
        yield _report_forced_closed(account, status)
    if not account.configured:
        yield _report_unusable(account)
    elif account.mode == BreakerMode.OPEN:
        yield _report_forced_open(account, status)
    elif account.mode == BreakerMode.AUTO and account.state != BreakerState.CLOSED:
        yield _report_open(account, status)
    elif account.quota is not None and account.quota.is_out and _is_worth_an_alert(account.quota):
        yield _report_out_of_quota(account, account.quota, status)
    elif account.refuses or account.refused_emails:
        yield _report_systemic_refusals(account)
    elif account.failure_mode_until is None and (failure := _find_refusals(account, status)) is not None:
        yield _report_refusals(account, failure, status)
    elif account.failure_mode_until is None and (missed := _find_missed(account, status)) is not None:
        yield Alert(
            code="silent_failover",
            tone="bad",
            about=account.name,
            sentence=f"{account.name} is enabled but accepted no email for 15 minutes; other accounts accepted {missed.emails:,} "
            "that it could have taken.",
            remedy=f"Its key or its quota may have ended. Test it: manage.py providers test {account.name}",
            emails=urlencode({"account": account.name, "age": "1h"}),
        )


def _is_worth_an_alert(quota: QuotaStatus) -> bool:
    """Return False while a warm-up waits for its next hour: that is how it works."""
    return quota.out_since is not None or quota.allowed_today is None or quota.used_today >= quota.allowed_today


def _report_out_of_quota(account: AccountStatus, quota: QuotaStatus, status: SystemStatus) -> Alert:
    until = f"until {format_moment(quota.next_at, status.at)}" if quota.next_at else "until someone opens it"
    replacement = _find_replacement(account, status, until=until)
    reply = (
        f" Its reply: {quota.out_reason}"
        if quota.out_since
        else f" Its {quota.reason.partition(' reached')[0]} is used up."
    )
    if quota.out_since is None:
        remedy = f"To allow more: manage.py providers quota {account.name} --daily N --monthly N"
    else:
        remedy = f"To send through it earlier: manage.py providers open {account.name}"
    return Alert(
        code="out_of_quota",
        tone="waiting" if replacement.keeps_all_moving and quota.next_at else "bad",
        about=account.name,
        sentence=f"{account.name} is out of quota {until}.{reply}",
        remedy=f"{replacement.sentence} {remedy}",
        since=quota.out_since,
        emails=urlencode({"account": account.name, "state": "waiting"}),
    )


def _report_unusable(account: AccountStatus) -> Alert:
    return Alert(
        code="account_unusable",
        tone="bad",
        about=account.name,
        sentence=f"{account.name} cannot be used: its options are missing in this process.",
        remedy="Set its PROVIDER_ variable again, or MERCURY_ENCRYPTION_KEYS, and restart; or remove it: "
        f"manage.py providers remove {account.name}",
    )


def _report_forced_open(account: AccountStatus, status: SystemStatus) -> Alert:
    replacement = _find_replacement(account, status, until="until it is automatic again")
    return Alert(
        code="breaker_open",
        tone="waiting" if replacement.keeps_all_moving else "bad",
        about=account.name,
        sentence=f"The breaker of {account.name} is forced open{_name_author(account)}: it gets no email.",
        remedy=f"{replacement.sentence} When it works again: manage.py providers breaker {account.name} auto",
        since=account.since,
    )


def _report_open(account: AccountStatus, status: SystemStatus) -> Alert:
    last = f" Last failure: {account.last_failure}" if account.last_failure else ""
    probe = account.open_until
    due = f", the next at {format_moment(probe, status.at)}" if probe is not None and probe > status.at else ""
    replacement = _find_replacement(account, status, until=f"until a probe is accepted{due}")
    return Alert(
        code="breaker_open",
        tone="bad",
        about=account.name,
        sentence=f"The breaker of {account.name} is {account.state.label.lower()} ({account.words}).{last}",
        remedy=f"{replacement.sentence} It closes automatically when a probe is accepted.",
        since=account.since,
        emails=urlencode({"account": account.name, "state": "waiting"}),
    )


def _report_forced_closed(account: AccountStatus, status: SystemStatus) -> Alert:
    statistics = next((statistics for statistics in status.recent if statistics.name == account.name), None)
    fails = statistics is not None and statistics.attempts >= ENOUGH_REFUSALS and statistics.failure_rate >= FAILING
    harm = f", and {statistics.failure_rate:.0%} of its requests fail" if statistics is not None and fails else ""
    return Alert(
        code="breaker_forced_closed",
        tone="bad" if fails else "waiting",
        about=account.name,
        sentence=f"The breaker of {account.name} is forced closed{_name_author(account)}{harm}: it gets email regardless of errors.",
        remedy=f"Return it to automatic: manage.py providers breaker {account.name} auto",
        since=account.since,
        emails=urlencode({"account": account.name, "age": "1h"}),
    )


def _report_systemic_refusals(account: AccountStatus) -> Alert:
    """Report that the account refuses every email; once it accepts email again, what is left to reprocess."""
    ended = account.refused_emails
    emails = "1 email" if ended == 1 else f"{ended:,} emails"
    again = (
        f"Reprocess the {emails} discarded before this was detected: manage.py reprocess --refusals-of {account.name}"
    )
    if account.refuses:
        sentence = f"{account.name} refuses every email, so email waits or goes to other accounts. Its reply: {account.refusal_reason}"
        remedy = (
            "Check its domain, its senders and its reputation at the provider. This alert ends when it accepts an "
            f"email again.{f' {again}' if ended else ''}"
        )
    else:
        sentence = f"{account.name} refused every email for some time. It accepts email again."
        remedy = again
    return Alert(
        code="systemic_refusals",
        tone="bad" if account.refuses else "waiting",
        about=account.name,
        sentence=sentence,
        remedy=remedy,
        since=account.refused_since,
        emails=urlencode({"state": "discarded", "q": f"{systemic_refusals.WORD}{account.name}"}) if ended else "",
    )


def _find_refusals(account: AccountStatus, status: SystemStatus) -> RepeatedFailure | None:
    """Return the ongoing refusals because of the account itself, such as a key it does not know (401)."""
    found = (failure for failure in _select_ongoing(status, FailureClass.ACCOUNT) if failure.account == account.name)
    failure = next(found, None)
    return failure if failure is not None and failure.attempts >= ENOUGH_REFUSALS else None


def _report_refusals(account: AccountStatus, failure: RepeatedFailure, status: SystemStatus) -> Alert:
    replacement = _find_replacement(account, status, until="until it works")
    detour = (
        f" Until it works, disable it: manage.py providers disable {account.name}"
        if replacement.keeps_all_moving
        else " Leave it enabled: emails wait and are retried."
    )
    return Alert(
        code="account_refuses",
        tone="bad",
        about=account.name,
        sentence=f"{account.name} refused {failure.attempts:,} requests in the last 15 minutes because of the account: its key, its quota or its "
        "permissions.",
        remedy=f"{replacement.sentence} See its reply: manage.py providers test {account.name}.{detour}",
        since=failure.since,
        emails=urlencode({"account": account.name, "age": "1h"}),
    )


def _report_stuck_rule(rule: StuckRule) -> Alert:
    wait = "1 email waits" if rule.emails == 1 else f"{rule.emails:,} emails wait"
    return Alert(
        code="rule_without_account",
        tone="bad" if rule.emails else "waiting",
        about=rule.name,
        sentence=f"Routing rule {rule.name} allows only accounts that cannot be used: {', '.join(rule.accounts)}. {wait} for them.",
        remedy="Let email through one of them again, or allow others on the page Routing (/admin/routing/). Without "
        f"the rule, any account may send them: manage.py rules disable {rule.name}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Replacement:
    """What becomes of the email of an account that cannot accept any."""

    others: Sequence[str]  # the accounts that can
    stuck: Sequence[BoundEmail]  # email that may use none of them
    until: str  # when that waits

    @property
    def keeps_all_moving(self) -> bool:
        """Return True if no email waits."""
        return bool(self.others) and not self.stuck

    @property
    def sentence(self) -> str:
        """Say where its email goes, and which email waits."""
        if not self.others:
            return "No other account is available: email waits."
        goes = f"Its email goes to {' and '.join(self.others)}"
        if not self.stuck:
            return f"{goes}; nothing is lost."
        return f"{goes}, but {self._name_stuck()} {self.until}: no other account that it may use is available."

    def _name_stuck(self) -> str:
        rules = [bound.rule for bound in self.stuck if bound.rule]
        chosen = sum(bound.emails for bound in self.stuck if not bound.rule)
        parts = []
        if rules:
            more = f" and {len(rules) - NAMED_AT_MOST} more" if len(rules) > NAMED_AT_MOST else ""
            word = "rule" if len(rules) == 1 else "rules"
            parts.append(f"email of the routing {word} {', '.join(rules[:NAMED_AT_MOST])}{more}")
        if chosen:
            parts.append(f"{chosen:,} {'email' if chosen == 1 else 'emails'} with a choice of accounts")
        waits = "wait" if not rules and chosen > 1 else "waits"
        return f"{' and '.join(parts)} {waits}"


def _find_replacement(account: AccountStatus, status: SystemStatus, *, until: str) -> _Replacement:
    others = [name for name in list_accepting_accounts(status) if name != account.name]
    stuck = [
        bound
        for bound in status.bound_email
        if account.name in bound.accounts and set(bound.accounts).isdisjoint(others) and (bound.rule or bound.emails)
    ]
    return _Replacement(others=others, stuck=stuck, until=until)


def _name_author(account: AccountStatus) -> str:
    return f" by {account.by}" if account.by else ""


def _find_missed(account: AccountStatus, status: SystemStatus) -> MissedEmail | None:
    """Return the emails that others accepted while this account should have accepted some; None if all is well.

    An account that changed within these 15 minutes had no fair chance.
    """
    if account.changed_at is not None and account.changed_at > status.at - RECENT:
        return None
    missed = status.missed_email.get(account.name)
    enough = missed is not None and missed.emails >= ENOUGH_MAILS and missed.fair_share >= ENOUGH_MAILS / 4
    return missed if enough else None
