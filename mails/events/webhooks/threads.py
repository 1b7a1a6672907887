"""The threads of webhooks in this process: one fans events out, one sends on an event loop of its own."""

import threading
import time

import structlog
from django.db import Error, close_old_connections, connections

from mails.events.webhooks import fan_out
from mails.events.webhooks.fan_out import FannedOut
from mails.events.webhooks.sender import GRACE, Sender
from mercury.lib.database import database_bounds
from mercury.lib.database.database_errors import classify, is_temporary
from mercury.lib.runtime import event_loop

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.25  # seconds between two looks for new events …
LOOK_FOR_WEBHOOKS = 2.0  # … and, where there is no webhook, for the first one
RETRY_AFTER = 2.0  # seconds after a failure


class WebhookThreads:
    """Both threads. Any number of processes may have them."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._stopping = threading.Event()
        self._sender: Sender | None = None
        self._threads = (
            threading.Thread(target=self._fan_out, name="mercury-webhook-fan-out", daemon=True),
            threading.Thread(target=self._send, name="mercury-webhook-sender", daemon=True),
        )

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing more, and wait some seconds for requests in progress: what has no answer by then is sent again."""
        self._stopping.set()
        if self._sender is not None:
            self._sender.stop()
        for thread in self._threads:
            thread.join(GRACE + 2)
            if thread.is_alive():
                log.warning("webhooks_not_stopped", thread=thread.name)

    def _fan_out(self) -> None:
        try:
            while not self._stopping.is_set():
                passed = self._try_pass()
                if passed.deliveries and self._sender is not None:
                    self._sender.wake()
                if not passed.is_behind:
                    self._stopping.wait(LOOK_EVERY if passed.has_webhooks else LOOK_FOR_WEBHOOKS)
        finally:
            connections.close_all()

    def _try_pass(self) -> FannedOut:
        """Return the result of a pass; of one that failed, that there was no webhook: the next is another chance."""
        try:
            with database_bounds.limit_work(database_bounds.MAINTENANCE):
                close_old_connections()
                return fan_out.run_pass(self._process)
        except Exception as error:
            if isinstance(error, Error) and is_temporary(error):
                log.warning("webhook_fan_out_failed", error=classify(error))
            else:
                log.exception("webhook_fan_out_failed")
            return FannedOut()

    def _send(self) -> None:
        while not self._stopping.is_set():
            try:
                event_loop.run(self._run_sender())
            except Exception:  # whatever it was, webhooks must go on being served
                log.exception("webhook_sender_failed")
                time.sleep(RETRY_AFTER)

    async def _run_sender(self) -> None:
        self._sender = Sender(self._process)
        if not self._stopping.is_set():
            await self._sender.run()
