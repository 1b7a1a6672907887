"""Calls of providers, as the event loop makes them: wait for a slot, build the message, send it."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import takewhile
from typing import assert_never

import structlog

from mails.dispatch import local_trouble
from mails.dispatch.attachments import AttachmentLoader
from mails.dispatch.local_trouble import LocalTrouble
from mails.dispatch.steps.transitions import Call, Result
from mails.message import mime
from mails.states import NEVER_CALLED
from providers.classify import MAY_BE_ONE_HOST
from providers.outcomes import Accepted, Cause, FailureClass, NotAttempted, Outcome, Refused, Unknown
from providers.transports.sender import Sender

log = structlog.get_logger(__name__)

AHEAD = 0.05  # seconds of a claim, in which slots become free that are in use when it begins
PATIENCE = 2.0  # seconds that an email waits for its slot before it is given back


class Caller:
    """Makes the calls of one dispatcher, in its event loop."""

    def __init__(
        self,
        concurrency: int,
        *,
        trouble: LocalTrouble,
        confirm_lease: Callable[[Call], Awaitable[bool]],
        is_stopping: Callable[[], bool],
        attachments: AttachmentLoader,
    ) -> None:
        self.expected = 0  # calls that have not come back, and those that wait for a slot
        self.sender: Sender | None = None  # while the dispatcher runs
        self._concurrency = concurrency
        self._trouble = trouble
        self._confirm_lease = confirm_lease
        self._is_stopping = is_stopping
        self._attachments = attachments
        self._slots = asyncio.Semaphore(concurrency)
        self._returned: deque[float] = deque(maxlen=concurrency // 4)  # when the last calls came back, monotonic clock

    @property
    def in_flight(self) -> int:
        """Calls in progress: an email waits only while all slots are in use."""
        return min(self.expected, self._concurrency)

    def count_soon_free(self) -> int:
        """Return the slots that will be free by the time that a claim is committed, as many as in the last 50 ms."""
        since = time.monotonic() - AHEAD
        return sum(1 for _ in takewhile(lambda moment: moment > since, reversed(self._returned)))

    def close(self) -> None:
        """Read no more attachments."""
        self._attachments.close()

    async def make(self, call: Call) -> Result:
        """Make the call, which was counted as expected before, and return its result."""
        structlog.contextvars.bind_contextvars(mail=str(call.mail.id))  # of this task alone
        result = await self._make(call)
        self.expected -= 1
        return result

    async def _make(self, call: Call) -> Result:
        if not await self._acquire_slot():
            words = "This worker had no free slot, so it returned the email to the queue and made no request."
            not_called = NotAttempted(cause=Cause.WORKER, reason_code=NEVER_CALLED, reason=words)
            return Result(call=call, outcome=not_called, latency=0.0)
        try:
            began = time.perf_counter()
            outcome = await self._send(call)
            self._note_trouble(outcome)
            return Result(call=call, outcome=outcome, latency=time.perf_counter() - began, put_off=self._trouble.wait)
        finally:
            self._slots.release()
            self._returned.append(time.monotonic())

    async def _acquire_slot(self) -> bool:
        """Acquire a slot; wait for one if need be, but not for long, and begin nothing after a stop."""
        if not self._slots.locked():
            return await self._slots.acquire()
        try:
            async with asyncio.timeout(PATIENCE):
                await self._slots.acquire()
        except TimeoutError:
            return False
        if self._is_stopping():
            self._slots.release()
            return False
        return True

    async def _send(self, call: Call) -> Outcome:
        """Call the provider; not if this process can no longer be sure of its lease."""
        if not await self._confirm_lease(call):
            log.warning("call_not_made", account=call.account.name)
            words = "This worker was no longer sure of its lease, so it made no request."
            return NotAttempted(cause=Cause.WORKER, reason_code=NEVER_CALLED, reason=words)
        mail = call.mail
        assert call.message is not None  # noqa: S101 (it was loaded before)
        contents = await self._attachments.load(call.locations) if call.locations else {}
        if isinstance(contents, NotAttempted):
            return contents
        try:
            built = mime.build_message(
                mail.id,
                call.message,
                recipients=[recipient.address for recipient in mail.open_recipients],
                accepted_at=mail.created_at,
                key_scope=call.attempt.key_scope,
                contents=contents,
            )
        except (OSError, MemoryError) as error:
            return local_trouble.build_outcome(error)
        except Exception:  # an email that we fail at must not end the calls of the others
            log.exception("message_not_built")
            words = "Mercury failed to build the message, so it made no request."
            return NotAttempted(cause=Cause.EMAIL, reason_code=NEVER_CALLED, reason=words)
        assert self.sender is not None  # noqa: S101 (calls are made while the dispatcher runs)
        return await self.sender.send(call.account, built)

    def _note_trouble(self, outcome: Outcome) -> None:
        match outcome:
            case NotAttempted(cause=Cause.MACHINE):
                if self._trouble.meet(
                    outcome.reason,
                    in_progress=self.in_flight,
                    now=time.monotonic(),
                    may_be_one_host=outcome.reason_code in MAY_BE_ONE_HOST,
                ):
                    log.warning("local_trouble_met", reason=outcome.reason, calls_at_once=self._trouble.calls_at_once())
            case NotAttempted() | Refused(failure_class=FailureClass.RATE):
                pass  # no proof that this machine can make more calls
            case Accepted() | Refused() | Unknown():
                self._trouble.pass_by()
            case never:
                assert_never(never)
