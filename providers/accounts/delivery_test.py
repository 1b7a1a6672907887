"""A test email through one account, past its breaker and without failover.

It keeps the rules of every email: pauses, allowed senders, and waits that a provider asked for. Who sent it and its result
are recorded.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import make_msgid
from typing import Any, assert_never

from django.conf import settings
from django.core.mail import EmailMessage

from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act
from mercury.lib.database import database_clock
from mercury.lib.runtime import event_loop
from providers import history
from providers.accounts.config import AccountConfig
from providers.kinds.base import Transport
from providers.kinds.catalog import KINDS, delivers
from providers.models import Account, Breaker
from providers.outcomes import Accepted, Cause, NotAttempted, Outcome, Refused, Unknown
from providers.transports.sender import Sender

PLACEHOLDER_ADDRESS = "somebody@example.com"  # sender and recipient for a sandbox, if no address is given


class DeliveryTestNotAllowed(Exception):
    """The test email breaks a rule of every email. The text says which, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryTest:
    """A requested test email. `person` is None on the command line, which may use any sender."""

    sender: str
    recipient: str
    person: Any
    only_sandboxes: bool


Rule = Callable[[DeliveryTest], str]
rules: list[
    Rule
] = []  # `mails` adds its own when the apps are ready; each returns why the test is not allowed, or nothing


def run(configs: Sequence[AccountConfig], *, sender: str, recipient: str, by: str, person: Any = None) -> list[Outcome]:
    """Check the rules, send one email through each account at the same time, and record who did it and each result.

    Raises DeliveryTestNotAllowed; then nothing was sent.
    """
    test = DeliveryTest(
        sender=sender,
        recipient=recipient,
        person=person,
        only_sandboxes=not any(delivers(config.kind) for config in configs),
    )
    if reasons := [reason for rule in rules if (reason := rule(test))]:
        raise DeliveryTestNotAllowed(" ".join(reasons))
    waiting = _find_waits(configs)
    called = [config for config in configs if config.name not in waiting]
    outcomes: dict[str, Outcome] = dict(waiting)
    try:
        answers = send_all(called, sender=sender, recipient=recipient) if called else []
        outcomes |= {config.name: outcome for config, outcome in zip(called, answers, strict=True)}
    finally:
        for config in configs:
            _record(config.name, outcomes.get(config.name), recipient=recipient, by=by)
    return [outcomes[config.name] for config in configs]


def _find_waits(configs: Sequence[AccountConfig]) -> dict[str, Outcome]:
    """Return the outcome for each account whose provider asked for a wait that is not over."""
    now = database_clock.now()
    rows = Breaker.objects.filter(account__name__in=[config.name for config in configs], limited_until__gt=now)
    return {
        name: NotAttempted(
            cause=Cause.CAPACITY,
            reason_code="limited",
            reason=f"Its provider asked to wait until {until:%H:%M:%S} UTC.",
        )
        for name, until in rows.values_list("account__name", "limited_until")
    }


def _record(name: str, outcome: Outcome | None, *, recipient: str, by: str) -> None:
    result = describe_outcome(name, outcome) if outcome else "interrupted, it may have been sent."
    what = f"test email to {recipient}: {result}"
    account = Account.objects.filter(name=name).first()
    if account is not None:
        history.record(account, by=by, what=what, act=Act.TEST)
    else:  # an account that only this terminal's environment names
        audit.record(Act.TEST, by=by, kind=history.AUDIT_KIND, name=name, detail=what)


def send(config: AccountConfig, *, sender: str, recipient: str) -> Outcome:
    """Call the provider once and return the outcome. Takes up to `get_time_limit`; opens no transaction."""
    [outcome] = send_all([config], sender=sender, recipient=recipient)
    return outcome


def send_all(configs: Sequence[AccountConfig], *, sender: str, recipient: str) -> list[Outcome]:
    """Send one email through each account, all at the same time, and return their outcomes. Takes as long as `send`."""
    return event_loop.run(
        _send_each([(config, _build_message(config.name, sender=sender, recipient=recipient)) for config in configs])
    )


def get_time_limit(configs: Sequence[AccountConfig]) -> float:
    """Return the seconds that tests of these accounts take at most. The final reply of SMTP has time of its own."""
    deadline = settings.MERCURY_SEND_TIMEOUT.total_seconds()
    has_smtp = any(KINDS[config.kind].transport is Transport.SMTP for config in configs)
    return 2 * deadline if has_smtp else deadline


def describe_outcome(account: str, outcome: Outcome) -> str:
    """Return the outcome as a sentence."""
    match outcome:
        case Accepted():
            name = f", id {outcome.provider_message_id}" if outcome.provider_message_id else ""
            return f"{account} accepted it ({outcome.status_code}{name})."
        case Refused():
            return f"{account} refused it: {outcome.failure_class.label}, {outcome.reason_code}: {outcome.reason}"
        case NotAttempted():
            label = outcome.failure_class.label
            return f"{account} was not asked: {label}, {outcome.reason_code}: {outcome.reason}"
        case Unknown():
            return f"{account} did not confirm it; it may have been sent: {outcome.reason_code}: {outcome.reason}"
        case never:
            assert_never(never)


async def _send_each(mails: Sequence[tuple[AccountConfig, EmailMessage]]) -> list[Outcome]:
    deadline, connect_timeout = settings.MERCURY_SEND_TIMEOUT, settings.MERCURY_CONNECT_TIMEOUT
    async with Sender(
        deadline=deadline.total_seconds(), connect_timeout=connect_timeout.total_seconds(), concurrency=len(mails)
    ) as sending:
        return await asyncio.gather(*(sending.send(config, message) for config, message in mails))


def _build_message(account: str, *, sender: str, recipient: str) -> EmailMessage:
    return EmailMessage(
        subject="Test email from Mercury",
        body=f"This email tests the provider account {account}. If you can read it, the account works.",
        from_email=sender,
        to=[recipient],
        headers={"Message-ID": make_msgid(domain=sender.rpartition("@")[2].strip("> ") or "mercury.invalid")},
    )
