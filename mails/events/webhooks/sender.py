"""The sender: turns of webhooks on one event loop. A slow webhook keeps its own slots busy, and nobody else's.

A turn belongs to one webhook and lasts half a minute at most; then any process may have the next. What it has to send are
chains: the deliveries of one email, in order, each after the one before it was accepted. Results are stored in groups, in
the order of their ends. So wherever a process dies, what is sent again begins with the first delivery that is not stored.
"""

import asyncio
import datetime as dt
import uuid
from collections import deque
from collections.abc import Callable
from functools import partial

import structlog
from django.db import Error
from standardwebhooks import Webhook as Signer

from mails.dispatch.database_thread import Answer, DatabaseThread
from mails.events.webhooks import attempt as attempts
from mails.events.webhooks import deliveries, payload, signing
from mails.events.webhooks.attempt import Attempt, Request
from mails.events.webhooks.backoff import REST_AFTER
from mails.events.webhooks.deliveries import Claim, Due, Key, Result
from mails.models import Webhook
from mercury.lib.database import database_clock
from mercury.lib.database.database_errors import classify, is_temporary
from mercury.lib.encryption import DecryptionFailed
from providers import outbound_hosts
from providers.outbound_hosts import GuardedResolver
from providers.transports.http_client import HttpClient

log = structlog.get_logger(__name__)

LOOK_EVERY = 1.0  # seconds between two looks for webhooks with something to send, if nobody wakes the sender
AT_ONCE = 20  # webhooks that one look takes: others may have the next
MOST_WEBHOOKS = 400  # that a process serves at once
SLOTS = 10  # requests in progress for one webhook …
ALL_SLOTS = 400  # … and for all together, but one for each webhook
TURN = 30.0  # seconds
RENEW_EVERY = 4.0  # seconds: several times within a lease
CONNECT_TIMEOUT = 10.0  # seconds
RETRY_AFTER = 1.0  # seconds after an error of the database
GRACE = 3.0  # seconds that a stop waits for requests in progress


class Turn:
    """The turn of one webhook."""

    def __init__(
        self,
        webhook_id: uuid.UUID,
        *,
        process: str,
        client: HttpClient,
        database: DatabaseThread,
        get_slots: Callable[[], int],
    ) -> None:
        self._webhook_id = webhook_id
        self._process = process
        self._client = client
        self._database = database
        self._get_slots = get_slots
        self._ready: deque[list[Due]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._busy: set[Key] = set()  # what is ready or in progress, or whose results are not stored
        self._results: list[Result] = []
        self._ended: list[Key] = []  # of chains whose results are all among the others
        self._changed = asyncio.Event()
        self._is_over = False
        self._is_exhausted = False
        self._webhook: Webhook
        self._signers: list[Signer] = []

    def stop(self) -> None:
        """Begin no other request."""
        self._is_over = True
        self._ready.clear()
        self._changed.set()

    async def run(self) -> None:
        """Send until nothing is due, the webhook rests, or the turn is over."""
        timer = asyncio.get_running_loop().call_later(TURN, self.stop)
        try:
            while True:
                await self._record()
                await self._claim()
                self._start()
                if not self._tasks and not self._results:
                    break
                await self._changed.wait()
                self._changed.clear()
        except DecryptionFailed as error:
            await self._database.run(deliveries.note_unusable, self._webhook_id, self._process, str(error))
        finally:
            timer.cancel()
            for task in self._tasks:
                task.cancel()
        await self._database.run(deliveries.release, self._webhook_id, self._process)

    async def _claim(self) -> None:
        """Look for more, if there may be and the slots need it."""
        while not self._is_over and not self._is_exhausted and len(self._ready) < self._get_slots():
            claim: Claim | None = await self._database.run(
                deliveries.claim, self._webhook_id, self._process, tuple(self._busy)
            )
            if claim is None:
                self.stop()
                return
            self._webhook = claim.webhook
            secrets = signing.read_secrets(claim.webhook, database_clock.now())
            self._signers = [Signer(secret) for secret in secrets]
            self._ready.extend(claim.chains)
            self._busy.update(chain[0].key for chain in claim.chains)
            self._is_exhausted = not claim.has_more
            if claim.chains and claim.webhook.failures >= REST_AFTER:
                return  # one probe at a time

    def _start(self) -> None:
        """Begin requests in the free slots, unless a failure is not stored yet: it may be the one that makes it rest."""
        if any(not result.attempt.is_success for result in self._results):
            return
        slots = 1 if self._ready and self._webhook.failures >= REST_AFTER else self._get_slots()
        while self._ready and len(self._tasks) < slots and not self._is_over:
            task = asyncio.create_task(self._send_chain(self._ready.popleft()))
            self._tasks.add(task)
            task.add_done_callback(self._end_chain)

    def _end_chain(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()
        if not task.cancelled() and (error := task.exception()) is not None:  # its email is left to the next turn
            log.error("webhook_chain_failed", webhook=str(self._webhook_id), exc_info=error)

    async def _send_chain(self, chain: list[Due]) -> None:
        """Send the deliveries of one email one after the other, until one fails."""
        for due in chain:
            if self._is_over:
                break
            attempt = await self._send(due)
            self._results.append(Result(due.row, attempt))
            self._changed.set()
            if not attempt.is_success and not attempt.is_final:
                break
        self._ended.append(chain[0].key)

    async def _send(self, due: Due) -> Attempt:
        if due.event is None and not due.row.is_test:
            return Attempt(error="Its event is deleted: it is older than MERCURY_MAIL_RETENTION.", is_final=True)
        body = (
            payload.build_test(due.row)
            if due.event is None
            else payload.build(due.event, addresses=self._webhook.addresses)
        )
        request = Request(url=self._webhook.url, signers=self._signers, message_id=due.row.message_id, body=body)
        return await attempts.send(self._client, request, dt.datetime.now(dt.UTC))

    async def _record(self) -> None:
        """Store the results so far. What may be sent after them is looked for again."""
        if not self._results:
            self._busy.difference_update(self._ended)
            self._ended.clear()
            return
        results, self._results = self._results, []
        ended, self._ended = self._ended, []
        work = partial(deliveries.record, self._webhook_id, self._process, results)
        if not await self._run_persistently(work):
            self.stop()
        self._busy.difference_update(ended)
        self._is_exhausted = False

    async def _run_persistently(self, work: Callable[[], Answer]) -> Answer:
        """Do the work, also if the database is away for some time: what is not stored is sent again."""
        while True:
            try:
                return await self._database.run(work)
            except Error as error:
                if not is_temporary(error):
                    raise
                log.warning("webhook_results_not_stored", webhook=str(self._webhook_id), error=classify(error))
                await asyncio.sleep(RETRY_AFTER)


class Sender:
    """Serves webhooks until it is stopped. Make it and run it on one event loop."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._database = DatabaseThread("mercury-webhooks")
        resolver = GuardedResolver(outbound_hosts.get_allowed_hosts())
        self._client = HttpClient(deadline=attempts.TIMEOUT, connect_timeout=CONNECT_TIMEOUT, resolver=resolver)
        self._turns: dict[uuid.UUID, tuple[Turn, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._is_stopping = False
        self._renewed_at = 0.0  # by the loop's clock

    def wake(self) -> None:
        """Look for something to send now. For any thread."""
        self._loop.call_soon_threadsafe(self._wake.set)

    def stop(self) -> None:
        """Begin nothing more; `run` returns when the requests in progress have ended, 3 s later at most. For any thread."""
        self._is_stopping = True
        self.wake()

    async def run(self) -> None:
        """Serve the webhooks."""
        try:
            while not self._is_stopping:
                self._wake.clear()
                await self._renew()
                await self._look()
                try:
                    async with asyncio.timeout(LOOK_EVERY):
                        await self._wake.wait()
                except TimeoutError:
                    pass
        finally:
            await self._end()

    async def run_until_idle(self) -> None:
        """Send all that is due, and return. For tests."""
        try:
            while await self._look() or self._turns:
                await asyncio.gather(*(task for _, task in self._turns.values()))
        finally:
            await self._end()

    async def _renew(self) -> None:
        """Keep the leases of the turns in progress. Without them others begin: then events are repeated, still in order."""
        if not self._turns or self._loop.time() - self._renewed_at < RENEW_EVERY:
            return
        self._renewed_at = self._loop.time()
        try:
            await self._database.run(deliveries.renew, self._process)
        except Error as error:
            if not is_temporary(error):
                raise
            log.warning("webhook_leases_not_renewed", error=classify(error))

    async def _look(self) -> int:
        """Begin turns of webhooks that have something to send, and return how many."""
        most = min(AT_ONCE, MOST_WEBHOOKS - len(self._turns))
        try:
            found: list[uuid.UUID] = await self._database.run(deliveries.acquire, self._process, most) if most else []
        except Error as error:
            if not is_temporary(error):
                raise
            log.warning("webhooks_not_read", error=classify(error))
            return 0
        for webhook_id in found:
            turn = Turn(
                webhook_id,
                process=self._process,
                client=self._client,
                database=self._database,
                get_slots=self._count_slots,
            )
            self._turns[webhook_id] = (turn, asyncio.create_task(self._run_turn(webhook_id, turn)))
        return len(found)

    def _count_slots(self) -> int:
        return max(1, min(SLOTS, ALL_SLOTS // max(1, len(self._turns))))

    async def _run_turn(self, webhook_id: uuid.UUID, turn: Turn) -> None:
        try:
            await turn.run()
        except Exception as error:  # the lease ends, and with it comes another chance
            if isinstance(error, Error) and is_temporary(error):
                log.warning("webhook_turn_failed", webhook=str(webhook_id), error=classify(error))
            else:
                log.exception("webhook_turn_failed", webhook=str(webhook_id))
        finally:
            del self._turns[webhook_id]
            self._wake.set()

    async def _release_all(self) -> None:
        """Let other processes go on at once, also where a turn was cancelled."""
        try:
            await self._database.run(deliveries.release_all, self._process)
        except Error as error:
            log.warning("webhooks_not_released", error=classify(error))

    async def _end(self) -> None:
        """Wait for the requests in progress for some seconds. Those without an answer by then are sent again."""
        for turn, _ in self._turns.values():
            turn.stop()
        tasks = [task for _, task in self._turns.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=GRACE)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        self._client.close()
        await self._release_all()
        await self._database.end()
