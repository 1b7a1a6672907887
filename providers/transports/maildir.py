"""Sending to the sandbox: the mail goes into a Maildir, or fails in the way that the account was told to fail in."""

import asyncio
import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from django.core.mail import EmailMessage

from providers import classify
from providers.accounts.config import AccountConfig
from providers.outcomes import Accepted, FailureClass, Outcome, Unknown
from providers.sandbox import mailbox
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure
from providers.transports import mime


class SandboxChannel:
    """One sandbox account. Files are written in the thread pool, never on the event loop."""

    def __init__(
        self,
        account: AccountConfig,
        *,
        pool: Executor,
        deadline: float,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._name = account.name
        self._deadline = deadline
        self._fault: SimulatedFailure | None = account.options.get("fault")
        self._pool = pool
        self._now = now

    async def send(self, message: EmailMessage) -> Outcome:
        """Keep the mail, or do what the fault says. Ends within the deadline."""
        fault = self._fault
        if fault is None or not fault.acts(self._now()):
            return await self._keep(message)
        match fault.kind:
            case FailureKind.REFUSE:
                return self._refuse(int(fault.value))
            case FailureKind.FLAP:
                return self._refuse(503)
            case FailureKind.LOSE:
                await self._keep(message)
                return Unknown("connection-lost", "The sandbox took the mail and was told to lose its answer.")
            case FailureKind.SLOW if fault.value < self._deadline:
                await asyncio.sleep(fault.value)
                return await self._keep(message)
        await asyncio.sleep(self._deadline)
        return Unknown("read-timeout", f"The sandbox was told to be too slow: no answer within {self._deadline:g} s.")

    def close(self) -> None:
        """Nothing is held open."""

    def _refuse(self, status: int) -> Outcome:
        return classify.judge_status(status, f"The sandbox was told to answer {status}.", now=self._now())

    async def _keep(self, message: EmailMessage) -> Outcome:
        try:
            content = mime.build_content(message)
        except (ValueError, TypeError, LookupError) as error:
            return classify.refuse_uncalled(FailureClass.MESSAGE, "unsupported", f"The mail cannot be written: {error}")
        given_up = threading.Event()

        def keep() -> str:
            return "" if given_up.is_set() else mailbox.store(self._name, content)

        try:
            writing = asyncio.get_running_loop().run_in_executor(self._pool, keep)
        except RuntimeError:  # the pool keeps the work all the same, for a thread that it has already
            given_up.set()
            return classify.refuse_without_thread()
        try:
            return Accepted(await asyncio.wait_for(writing, self._deadline), 250)
        except TimeoutError:  # all threads may be busy; whether this one still writes it nobody can tell
            return Unknown("read-timeout", "The mailbox did not take the mail within the deadline.")
        except OSError as error:
            words = f"The mailbox cannot be written: {error.strerror}"
            return classify.refuse_uncalled(FailureClass.LOCAL, "mailbox-unwritable", words)
