"""Sandbox accounts for the tests, with the switches of their failure modes; the cast calls them olympus and hades."""

import datetime as dt
import email
import email.policy
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

from mercury.lib.database import database_clock
from providers.accounts import registration, sandboxes
from providers.models import Account, Breaker
from providers.sandbox import mailbox
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure


@dataclass(frozen=True, kw_only=True)
class SandboxAccount:
    """A sandbox account and the switches of its failure modes."""

    account: Account

    @property
    def name(self) -> str:
        return self.account.name

    @property
    def breaker(self) -> Breaker:
        return Breaker.objects.get(account=self.account)

    def refuse(self, status: int = 503) -> None:
        self._fail_with(FailureKind.REFUSE, status)

    def slow(self, seconds: float) -> None:
        self._fail_with(FailureKind.SLOW, seconds)

    def lose_answer(self) -> None:
        self._fail_with(FailureKind.LOSE)

    def behave(self) -> None:
        sandboxes.set_failure_mode(self.account, None)

    def disable(self) -> None:
        registration.update(self.account, enabled=False, by="test")

    def enable(self) -> None:
        registration.update(self.account, enabled=True, by="test")

    def inbox(self) -> list[Any]:
        return list(mailbox.load_page(self.name).mails)

    def _fail_with(self, kind: FailureKind, value: float = 0) -> None:
        until = database_clock.now() + dt.timedelta(hours=1)
        sandboxes.set_failure_mode(self.account, SimulatedFailure(kind=kind, value=value, until=until))


def sandbox_account(name: str, *, weight: int = 1) -> SandboxAccount:
    return SandboxAccount(account=registration.register(name, "sandbox", {}, weight=weight, by="test"))


def opened(account: str, key: str) -> EmailMessage:
    """A mail that the sandbox took, parsed."""
    return email.message_from_bytes(mailbox.read_source(account, key), policy=email.policy.default)
