"""The yardstick of Mercury's dispatcher: claim, one request, one group write. No attempt, no event, no reason.

`python bench/bare_dispatcher.py PROVIDER_URL CLIENT` sends what `fill` stored in the database of `DATABASE_URL` and exits
when nothing is left. It has Mercury's event loop, threads, concurrency and group sizes, and Mercury's HTTP client or aiohttp.
A process that dies with an email in its hands has lost it: nobody would find it again.
"""

import asyncio
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson
import psycopg2
import psycopg2.extras

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Mercury is no installed package

from mercury.lib.runtime import event_loop
from providers.outbound_hosts import GuardedResolver
from providers.transports.http_client import HttpClient, build_head, parse_endpoint

Post = Callable[[bytes], Awaitable[tuple[int, str]]]  # send this document: status and id of the message
HEADERS = {"Authorization": "Bearer SG.local-provider-key", "Content-Type": "application/json"}
DEADLINE = 30.0  # seconds of a call
CONCURRENCY = 256  # the default of MERCURY_MAX_CONCURRENCY
BATCH = CONCURRENCY // 8  # slots that a claim waits for
GROUP_WAIT, GROUP_WANT, GROUP_MOST = 0.05, 32, 256  # of results; as the dispatcher has them
CREATE = """
    CREATE TABLE IF NOT EXISTS bare_mail (
        id uuid PRIMARY KEY, sender text, recipient text, subject text, text text, status text, due_at timestamptz,
        claimed_at timestamptz, finished_at timestamptz, provider_message_id text
    );
    CREATE INDEX IF NOT EXISTS bare_mail_due ON bare_mail (due_at) WHERE status = 'queued'
"""
FILL = """
    INSERT INTO bare_mail (id, sender, recipient, subject, text, status, due_at)
    SELECT gen_random_uuid(), 'zeus@olimpus.com', 'hera@olimpus.com', 'mail ' || number, %s, 'queued', now()
    FROM generate_series(1, %s) AS number
"""
CLAIM = """
    UPDATE bare_mail SET status = 'sending', claimed_at = clock_timestamp() FROM (
        SELECT id FROM bare_mail WHERE status = 'queued' AND due_at <= now()
        ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
    ) AS due
    WHERE bare_mail.id = due.id RETURNING bare_mail.id::text, sender, recipient, subject, text
"""
RECORD = """
    UPDATE bare_mail SET status = r.status, provider_message_id = r.message_id, finished_at = clock_timestamp()
    FROM json_to_recordset(%s::json) AS r(id uuid, status text, message_id text) WHERE bare_mail.id = r.id
"""
READ = """
    SELECT count(*) FILTER (WHERE status = 'done'), extract(epoch FROM max(finished_at) - min(claimed_at))::float
    FROM bare_mail
"""


class BareMail(NamedTuple):
    """One claimed email."""

    id: str
    sender: str
    recipient: str
    subject: str
    text: str


class Store:
    """A thread with a connection of its own. A statement is a transaction."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1)
        self._connection = connect()

    async def claim(self, free: int) -> list[BareMail]:
        """Claim up to `free` emails."""
        return [BareMail(*row) for row in await self._run(CLAIM, free, reads=True)]

    async def record(self, results: Sequence[dict[str, str]]) -> None:
        """Write the results of a group."""
        await self._run(RECORD, orjson.dumps(results).decode(), reads=False)

    async def _run(self, statement: str, parameter: object, *, reads: bool) -> list[tuple[Any, ...]]:
        def execute() -> list[tuple[Any, ...]]:
            with self._connection.cursor() as cursor:
                cursor.execute(statement, [parameter])
                return cursor.fetchall() if reads else []

        return await asyncio.get_running_loop().run_in_executor(self._thread, execute)


class BareDispatcher:
    """Sends until nothing is left."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._in_flight = 0
        self._slot_free = asyncio.Event()
        self._results: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def run(self) -> None:
        """Claim and record side by side."""
        async with asyncio.TaskGroup() as tasks:
            recording = tasks.create_task(self._keep_recording(Store()))
            await self._keep_claiming(Store(), tasks)
            while self._in_flight:
                self._slot_free.clear()
                await self._slot_free.wait()
            await self._results.join()
            recording.cancel()

    async def _keep_claiming(self, store: Store, tasks: asyncio.TaskGroup) -> None:
        while True:
            self._slot_free.clear()
            free = CONCURRENCY - self._in_flight
            if free < BATCH:
                await self._slot_free.wait()
                continue
            mails = await store.claim(free)
            if not mails:
                return
            self._in_flight += len(mails)
            for mail in mails:
                tasks.create_task(self._send(mail))

    async def _send(self, mail: BareMail) -> None:
        status, message_id = await self._post(_build_payload(mail))
        self._in_flight -= 1
        self._slot_free.set()
        self._results.put_nowait(
            {"id": mail.id, "status": "done" if status == 202 else "failed", "message_id": message_id}
        )

    async def _keep_recording(self, store: Store) -> None:
        while True:
            group = [await self._results.get()]
            until = asyncio.get_running_loop().time() + GROUP_WAIT
            while len(group) < GROUP_MOST:
                if not self._results.empty():
                    group.append(self._results.get_nowait())
                    continue
                left = until - asyncio.get_running_loop().time()
                if left <= 0 or len(group) >= GROUP_WANT or not self._in_flight:
                    break
                try:
                    group.append(await asyncio.wait_for(self._results.get(), left))
                except TimeoutError:
                    break
            await store.record(group)
            for _ in group:
                self._results.task_done()


def connect() -> Any:
    """Return a connection on which each statement is a transaction."""
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    connection.autocommit = True
    return connection


def fill(count: int, text: str) -> None:
    """Create the table and store emails that are due."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(CREATE)
        cursor.execute(FILL, [text, count])
        cursor.execute("ANALYZE bare_mail")


def read_records() -> tuple[int, float]:
    """Return how many emails are done, and the seconds from the first claim to the last result."""
    with connect() as connection, connection.cursor() as cursor:
        cursor.execute(READ)
        done, seconds = cursor.fetchone()
    return done, seconds or 0.0


def _build_payload(mail: BareMail) -> bytes:
    return orjson.dumps(
        {
            "from": {"email": mail.sender},
            "personalizations": [{"to": [{"email": mail.recipient}]}],
            "subject": mail.subject,
            "headers": {"X-Mercury-ID": mail.id},
            "content": [{"type": "text/plain", "value": mail.text}],
        }
    )


@asynccontextmanager
async def by_own_client(url: str) -> AsyncIterator[Post]:
    """Post with Mercury's client."""
    client = HttpClient(deadline=DEADLINE, connect_timeout=DEADLINE / 2, resolver=GuardedResolver({"127.0.0.1"}))
    endpoint, tls = parse_endpoint(url), ssl.create_default_context()

    async def post(body: bytes) -> tuple[int, str]:
        head = build_head(endpoint, "POST", HEADERS, len(body))
        answer = await client.call(endpoint, head, body, tls=tls, time_left=DEADLINE)
        return answer.status_code, answer.headers.get("x-message-id", "")

    yield post
    client.close()


@asynccontextmanager
async def by_aiohttp(url: str) -> AsyncIterator[Post]:
    """Post with aiohttp."""
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=DEADLINE)
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar) as session:

        async def post(body: bytes) -> tuple[int, str]:
            async with session.post(url, data=body, headers=HEADERS) as answer:
                await answer.read()
                return answer.status, answer.headers.get("X-Message-Id", "")

        yield post


CLIENTS: dict[str, Callable[[str], AbstractAsyncContextManager[Post]]] = {"own": by_own_client, "aiohttp": by_aiohttp}


async def main() -> None:
    """Send what is due."""
    async with CLIENTS[sys.argv[2]](sys.argv[1] + "/v3/mail/send") as post:
        await BareDispatcher(post).run()


if __name__ == "__main__":
    event_loop.trim_memory()
    event_loop.run(main())
