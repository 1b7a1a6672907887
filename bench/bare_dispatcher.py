"""The yardstick of Mercury's dispatcher: claim, one request, one group write. No attempt, no event, no reason.

`python bench/bare_dispatcher.py PROVIDER_URL` sends what `fill` stored in the database of `DATABASE_URL` and exits when
nothing is left. It has Mercury's HTTP client, event loop, threads, concurrency and group sizes, so that what differs is what
Mercury does for an email. A process that dies with an email in its hands has lost it: nobody would find it again.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson
import psycopg2
import psycopg2.extras

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # Mercury is no installed package

from mercury.lib.runtime import event_loop

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

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url + "/v3/mail/send"
        self._session = session
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

    async def _post(self, body: bytes) -> tuple[int, str]:
        headers = {"Authorization": "Bearer SG.local-provider-key", "Content-Type": "application/json"}
        async with self._session.post(self._url, data=body, headers=headers) as answer:
            await answer.read()
            return answer.status, answer.headers.get("X-Message-Id", "")

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


async def main() -> None:
    """Send what is due."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        await BareDispatcher(sys.argv[1], session).run()


if __name__ == "__main__":
    event_loop.trim_memory()
    event_loop.run(main())
