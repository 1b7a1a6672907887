"""The cast of the tests: zeus writes, hera receives, the accounts are called olympus and hades."""

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mails import intake
from mails.dispatch.drain import Drain
from mails.intake import Client
from mails.models import Mail
from mails.states import Source
from mercury.lib import database_clock
from providers import registry
from providers.models import Account, Breaker
from providers.sandbox import mailbox
from providers.sandbox.faults import FaultKind, FaultSetting

ZEUS = "zeus@olimpus.com"
HERA = "hera@olimpus.com"
IRIS = "iris@olimpus.com"
HELLO: Mapping[str, Any] = {"sender": ZEUS, "recipient": HERA, "subject": "You made my day", "content": "Hi"}
COMMAND = Client(Source.COMMAND)


@dataclass(frozen=True)
class SandboxAccount:
    """A sandbox account and the switches of its faults."""

    account: Account

    @property
    def name(self) -> str:
        return self.account.name

    @property
    def breaker(self) -> Breaker:
        return Breaker.objects.get(account=self.account)

    def refuse(self, status: int = 503) -> None:
        self._fault(FaultKind.REFUSE, status)

    def lose_answer(self) -> None:
        self._fault(FaultKind.LOSE)

    def hang(self) -> None:
        self._fault(FaultKind.HANG)

    def behave(self) -> None:
        registry.set_fault(self.account, None)

    def disable(self) -> None:
        registry.update(self.account, enabled=False, by="test")

    def inbox(self) -> list[Any]:
        return list(mailbox.messages(self.name))

    def _fault(self, kind: FaultKind, value: float = 0) -> None:
        until = database_clock.now() + dt.timedelta(hours=1)
        registry.set_fault(self.account, FaultSetting(kind, value, until))


def sandbox_account(name: str, *, weight: int = 1) -> SandboxAccount:
    return SandboxAccount(registry.register(name, "sandbox", {}, weight=weight, by="test"))


def a_mail(client: Client = COMMAND, **changes: Any) -> Mail:
    """A mail that zeus handed in."""
    return intake.accept({**HELLO, **changes}, client=client).mail


def drain(*lanes: str, places: int = 8) -> int:
    """Drain these lanes until nothing is due; returns how many mails were done."""
    return asyncio.run(Drain(lanes or ("text",), places=places).run(until_idle=True))


def reloaded(mail: Mail) -> Mail:
    return Mail.objects.get(pk=mail.pk)


def event_names(mail: Mail) -> list[str]:
    return list(mail.events.values_list("event", flat=True))
