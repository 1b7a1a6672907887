"""The threads of webhooks in this process: one fans events out, one sends on an event loop of its own."""

from functools import partial

import structlog

from mails.events.webhooks import fan_out
from mails.events.webhooks.fan_out import FannedOut
from mails.events.webhooks.sender import GRACE, Sender
from mercury.lib.runtime import event_loop
from mercury.lib.runtime.work_threads import WorkThreads, attempt

log = structlog.get_logger(__name__)

LOOK_EVERY = 0.25  # seconds between two looks for new events …
LOOK_FOR_WEBHOOKS = 2.0  # … and, where there is no webhook, for the first one
RETRY_AFTER = 2.0  # seconds after a failure


class WebhookThreads(WorkThreads):
    """Both threads. Any number of processes may have them."""

    def __init__(self, process: str) -> None:
        self._process = process
        self._sender: Sender | None = None
        work = {"mercury-webhook-fan-out": self._fan_out, "mercury-webhook-sender": self._send}
        super().__init__(work, last_seconds=GRACE + 2)

    def ask_to_stop(self) -> None:
        """Begin nothing more. Requests in progress have some seconds: what has no answer by then is sent again."""
        super().ask_to_stop()
        if self._sender is not None:
            self._sender.stop()

    def _fan_out(self) -> None:
        one_pass = partial(fan_out.run_pass, self._process)
        while not self.stopping.is_set():
            passed = attempt(one_pass, "webhook_fan_out_failed") or FannedOut()
            if passed.deliveries and self._sender is not None:
                self._sender.wake()
            if not passed.is_behind:
                self.stopping.wait(LOOK_EVERY if passed.has_webhooks else LOOK_FOR_WEBHOOKS)

    def _send(self) -> None:
        while not self.stopping.is_set():
            try:
                event_loop.run(self._run_sender())
            except Exception:  # whatever it was, webhooks must go on being served
                log.exception("webhook_sender_failed")
                self.stopping.wait(RETRY_AFTER)

    async def _run_sender(self) -> None:
        self._sender = Sender(self._process)
        if not self.stopping.is_set():
            await self._sender.run()
