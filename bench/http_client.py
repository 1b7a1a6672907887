"""Measure the HTTP client alone, in turns with aiohttp: `python bench/http_client.py --calls 6000 --rounds 4`.

Both send the same request to `bench/sink.py`, on libuv's loop, with 100 calls in progress, each run in a process of its own.
"""

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import uvloop

ROOT = Path(__file__).parents[1]
BODY = json.dumps({"personalizations": [{"to": [{"email": "hera@olimpus.com"}]}], "content": "x" * 1900}).encode()
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Authorization": "Bearer SG.local-provider-key",
    "Content-Type": "application/json",
}
IN_PROGRESS = 100
Call = Callable[[], Awaitable[int]]


@contextlib.asynccontextmanager
async def open_mercury(url: str) -> AsyncIterator[Call]:
    """Open Mercury's client."""
    from providers import outbound_hosts, tls
    from providers.transports import http_client

    resolver = outbound_hosts.GuardedResolver(frozenset({"127.0.0.1"}))
    client = http_client.HttpClient(deadline=10, connect_timeout=3, resolver=resolver)
    endpoint, context = http_client.parse_endpoint(url), tls.build_client_context()

    async def call() -> int:
        head = http_client.build_head(endpoint, "POST", HEADERS, len(BODY))
        return (await client.call(endpoint, head, BODY, tls=context, time_left=10)).status_code

    yield call
    client.close()


@contextlib.asynccontextmanager
async def open_aiohttp(url: str) -> AsyncIterator[Call]:
    """Open a session of aiohttp with the same limits."""
    timeout = aiohttp.ClientTimeout(total=10, connect=3, sock_connect=3)
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def call() -> int:
            async with session.post(
                url, data=BODY, headers=HEADERS, timeout=timeout, allow_redirects=False
            ) as response:
                await response.read()
                return response.status

        yield call


CLIENTS = {"mercury": open_mercury, "aiohttp": open_aiohttp}


async def measure(name: str, url: str, calls: int) -> str:
    """Return calls a second, and milliseconds of CPU a call."""
    async with CLIENTS[name](url) as call:
        numbers = iter(range(calls))

        async def work() -> None:
            for _ in numbers:
                assert await call() == 202

        await call()
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.gather(*(work() for _ in range(IN_PROGRESS)))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return f"{name:8} {calls / took:7.0f}/s {cpu / calls * 1000:.3f} ms"


def main() -> None:
    """Run both in turns, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--client", choices=CLIENTS, help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(uvloop.run(measure(options.client, options.url, options.calls)), flush=True)
        return
    with subprocess.Popen([sys.executable, ROOT / "bench" / "sink.py"], stdout=subprocess.PIPE) as sink:
        assert sink.stdout is not None
        url = f"http://127.0.0.1:{json.loads(sink.stdout.readline())['http']}/v3/mail/send"
        environment = os.environ | {"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "mercury.settings"}
        try:
            for _ in range(options.rounds):
                for name in CLIENTS:
                    command = [sys.executable, __file__, "--client", name, "--url", url, "--calls", str(options.calls)]
                    subprocess.run(command, check=True, env=environment)
        finally:
            sink.terminate()


if __name__ == "__main__":
    main()
