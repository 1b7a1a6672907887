"""Client webhooks: workers die and the receiver goes away, and every event arrives, in order within one email."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from chaos.database import query
from chaos.scenario import Run, Scenario

EVENTS = "SELECT e.id FROM mails_event AS e JOIN mails_mail AS m ON m.id = e.mail_id WHERE m.subject LIKE ?"


class Receiver(ThreadingHTTPServer):
    """Keeps the email and the event of each request that it accepted, in the order of arrival."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.is_away = False
        self.accepted: list[tuple[str, int]] = []
        self.refused = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}/hook"

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing of a client that was killed."""

    def list_out_of_order(self) -> list[tuple[str, int]]:
        """Return the events that first arrived after a later event of their email."""
        last: dict[str, int] = {}
        seen: set[int] = set()
        found = []
        for mail_id, event_id in self.accepted:
            if event_id not in seen and event_id < last.get(mail_id, 0):
                found.append((mail_id, event_id))
            seen.add(event_id)
            last[mail_id] = max(last.get(mail_id, 0), event_id)
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Receiver

    def do_POST(self) -> None:
        """Accept the request, or hang up."""
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["data"]
        with self.server.lock:
            if self.server.is_away:
                self.server.refused += 1
                self.close_connection = True
                return
            self.server.accepted.append((data["mail_id"], data["event_id"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Print nothing."""


def deliver_to_webhooks(run: Run) -> None:
    """Kill who sends, again and again, and let the receiver be away in the middle of it."""
    testbed = run.testbed
    run.timeout = 300.0
    testbed.configure(delay_ms=20)
    kills = max(3, run.mails // 500)
    with _start_receiver() as receiver:
        testbed.instance.run(create_webhook, receiver.url)
        testbed.wait_for_dispatchers()
        with run.post_mails(rate=run.mails / (kills * 6.0)):
            for number in range(kills):
                run.wait_until_posted((number + 1) * run.mails // (kills + 2))
                receiver.is_away = number == kills // 2
                if testbed.leg == "full":
                    testbed.kill_worker(number % 2)
                else:
                    testbed.kill_web()
                if receiver.is_away:
                    run.wait_for(lambda: receiver.refused > 0)
            receiver.is_away = False
        run.wait_until_finished()
        wanted = {int(row[0]) for row in query(testbed.database_url, EVENTS, f"{run.subjects}%")}
        took = run.wait_for(lambda: wanted <= {event_id for _, event_id in receiver.accepted})
        arrived = [event_id for _, event_id in receiver.accepted if event_id in wanted]
        run.report("kills", kills)
        run.report("events", len(wanted))
        run.expect_at_most("events that did not arrive", len(wanted - set(arrived)), 0)
        run.expect_at_most("events that arrived out of order", len(receiver.list_out_of_order()), 0)
        run.expect_at_least("requests while the receiver was away", receiver.refused, 1)
        run.report("events that arrived more than once", len(arrived) - len(set(arrived)))
        run.report("all arrived after the last email was sent", took, "s")


def create_webhook(url: str) -> None:
    """Create a webhook of the instance's key. For a process with Django."""
    from mails.events.webhooks import operations  # noqa: PLC0415 (needs Django)
    from mails.models import ApiKey  # noqa: PLC0415

    operations.create(ApiKey.objects.get(), url=url, by="command line")


@contextmanager
def _start_receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        receiver.server_close()


SCENARIOS = [
    Scenario(
        "webhooks",
        "kill -9 of what sends to webhooks, while their receiver goes away and comes back",
        deliver_to_webhooks,
        3000,
        120,
        legs=("embedded", "full"),
    ),
]
