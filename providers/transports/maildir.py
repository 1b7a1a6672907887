"""Send to the sandbox: write the email into a Maildir, or simulate a failure."""

import asyncio
import datetime as dt
import threading
from collections.abc import Callable
from concurrent.futures import Executor

from django.core.mail import EmailMessage

from providers import classify
from providers.accounts.config import AccountConfig
from providers.outcomes import Accepted, Cause, NotAttempted, Outcome, Unknown
from providers.sandbox import mailbox
from providers.sandbox.failure_modes import FailureKind, SimulatedFailure
from providers.transports import mime
from providers.transports.building import Builder


class SandboxChannel:
    """One sandbox account. Files are written in the thread pool, never on the event loop."""

    def __init__(
        self,
        account: AccountConfig,
        *,
        pool: Executor,
        builder: Builder,
        deadline: float,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        self._name = account.name
        self._deadline = deadline
        self._failure: SimulatedFailure | None = account.options.get("failure_mode")
        self._pool = pool
        self._builder = builder
        self._now = now

    async def send(self, message: EmailMessage) -> Outcome:
        """Store the email, or simulate the failure. Ends within the deadline."""
        failure = self._failure
        if failure is None or not failure.is_active(self._now()):
            return await self._store(message)
        match failure.kind:
            case FailureKind.REFUSE:
                return self._refuse(int(failure.value))
            case FailureKind.FLAP:
                return self._refuse(503)
            case FailureKind.LOSE:
                await self._store(message)
                return Unknown(reason_code="connection-lost", reason="Simulated lost reply.")
            case FailureKind.SLOW if failure.value < self._deadline:
                await asyncio.sleep(failure.value)
                return await self._store(message)
        await asyncio.sleep(self._deadline)
        return Unknown(reason_code="read-timeout", reason=f"Simulated slowness: no answer within {self._deadline:g} s.")

    def close(self) -> None:
        """Close nothing: nothing is open."""

    def _refuse(self, status: int) -> Outcome:
        return classify.judge_status(status, f"Simulated {status}.", now=self._now())

    async def _store(self, message: EmailMessage) -> Outcome:
        try:
            content = await self._builder.build(mime.build_content, message)
        except (ValueError, TypeError, LookupError) as error:
            return NotAttempted(
                cause=Cause.MESSAGE, reason_code="unsupported", reason=f"The email cannot be written: {error}"
            )
        is_abandoned = threading.Event()

        def store() -> str:
            return "" if is_abandoned.is_set() else mailbox.store(self._name, content)

        try:
            writing = asyncio.get_running_loop().run_in_executor(self._pool, store)
        except RuntimeError:  # the pool keeps the work, for a thread that it already has
            is_abandoned.set()
            return classify.blame_missing_thread()
        try:
            return Accepted(provider_message_id=await asyncio.wait_for(writing, self._deadline), status_code=250)
        except TimeoutError:  # all threads may be busy; this one may still write it
            return Unknown(
                reason_code="read-timeout", reason="The mailbox did not store the email within the time limit."
            )
        except OSError as error:
            words = f"The mailbox cannot be written: {error.strerror}"
            return classify.blame_machine("mailbox-unwritable", words)
