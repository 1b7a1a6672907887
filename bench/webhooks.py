"""Rate of client webhooks: `python bench/webhooks.py [--mails N]`.

A PostgreSQL database with the events of N emails, seven each, of one API key. Measured one after the other in one process:
how fast the deliveries are written for one webhook, what 200 webhooks of other keys add to that, and how fast the
deliveries are sent to a receiver in a process of its own, which answers at once.
"""

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import fill
import instance

OTHERS = 200  # webhooks of keys without emails


class Receiver(asyncio.Protocol):
    """Answers each request with 200; reads no more than the end of it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = transport
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        """Answer the requests that are whole."""
        self.rest += data
        while True:
            head, found, body = self.rest.partition(b"\r\n\r\n")
            if not found:
                return
            length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
            if len(body) < length:
                return
            self.rest = body[length:]
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


async def receive() -> None:
    """Print the port, and receive."""
    import uvloop

    assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
    server = await asyncio.get_running_loop().create_server(Receiver, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running_receiver() -> Iterator[str]:
    """Give the address of a receiver."""
    process = subprocess.Popen([sys.executable, __file__, "--receive"], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/hook"
    finally:
        process.kill()
        process.wait()


def make_key(name: str) -> int:
    """Create a key and return its id."""
    from mails.access import api_keys

    key, _ = api_keys.create(name, scopes=["mails:send"], senders=["*"])
    return key.pk


def fan_out(url: str, others: int) -> tuple[int, float]:
    """Write the deliveries of all events for the first key's webhook, with others there: deliveries, seconds."""
    from mails.access import api_keys
    from mails.events.webhooks import fan_out as engine
    from mails.events.webhooks import operations
    from mails.maintenance import leadership
    from mails.models import ApiKey, Webhook, WebhookDelivery

    if not Webhook.objects.exists():
        operations.create(ApiKey.objects.earliest("pk"), url=url, by="bench")
    for number in range(others):
        key, _ = api_keys.create(f"other-{number}", scopes=["mails:send"], senders=["*"])
        operations.create(key, url=url, by="bench")
    WebhookDelivery.objects.all().delete()
    Webhook.objects.update(position=0)
    leadership.acquire(engine.TASK, "bench")
    began, written, is_behind = time.monotonic(), 0, True
    while is_behind:
        passed = engine.run_pass("bench")
        written, is_behind = written + passed.deliveries, passed.is_behind
    return written, time.monotonic() - began


def send() -> tuple[int, float, float]:
    """Send all deliveries: how many, seconds, seconds of CPU."""
    from mails.events.webhooks.sender import Sender
    from mails.models import WebhookDelivery
    from mercury.lib.runtime import event_loop

    async def run() -> None:
        await Sender("bench").run_until_idle()

    began, cpu = time.monotonic(), time.process_time()
    event_loop.run(run())
    seconds, cpu = time.monotonic() - began, time.process_time() - cpu
    return WebhookDelivery.objects.filter(status="delivered").count(), seconds, cpu


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mails", type=int, default=5000, help="Number of emails, with seven events each.")
    parser.add_argument("--receive", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.receive:
        import uvloop

        uvloop.run(receive())
    instance.check_mails(parser, options.mails)
    instance.say_what("Webhooks", options.mails)
    with instance.build("full") as built, running_receiver() as url:
        key = built.run(make_key, "zeus")
        built.run(fill_history, options.mails, key)
        built.run(fill.vacuum)
        for others in (0, OTHERS):
            written, seconds = built.run(fan_out, url, others)
            print(f"  deliveries written, {others:3} other webhooks: {written / seconds:7.0f}/s", flush=True)
        sent, seconds, cpu = built.run(send)
        print(f"  deliveries sent: {sent / seconds:7.0f}/s, {cpu / sent * 1e6:5.0f} us of CPU", flush=True)


def fill_history(mails: int, key: int) -> None:
    """Fill the history of this key."""
    fill.history(mails, api_key=key)


if __name__ == "__main__":
    main()
