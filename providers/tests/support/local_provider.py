"""A provider on this machine, over real sockets: SendGrid's `v3/mail/send` and Mailgun's `messages`, and every misdeed.

It checks path, key and required fields as the providers' public API descriptions have them, remembers what it took,
and answers in the way a test asks for. For tests (`async with LocalProvider() as provider`), and for benchmarks as a
process of its own: `python -m providers.tests.support.local_provider --port 8110 --delay-ms 200`.

    GET  /deliveries     {"count": 2, "mails": [{"provider", "arrived_ns", "message_id", "mail_id", "to", "subject"}, ...]}
    GET  /calls          {"calls": [[arrived_ns, ended_ns], ...]}, by the monotonic clock
    POST /configure      {"answer": "hang"} or {"delay_ms": 200} or {"mix": {"reset-after": 0.05}}; DELETE /deliveries forgets
"""

import argparse
import asyncio
import base64
import contextlib
import email.utils
import gzip
import json
import random
import socket
import ssl
import struct
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs

from aiohttp import web

from mercury.lib.runtime import event_loop

SENDGRID_KEY = "SG.local-provider-key"
MAILGUN_KEY = "key-local-provider"
MAILGUN_DOMAIN = "mg.olimpus.com"
HUGE = 400 * 1000 * 1000  # bytes
KEEP = 10_000  # mails remembered; the count goes on
ARRIVED_NS = web.RequestKey("arrived_ns", int)  # monotonic clock: comparable with that of other processes here

Answer = Callable[["LocalProvider", web.Request, str], Awaitable[web.StreamResponse]]


class LocalProvider:
    """The server. `answer` is a key of ANSWERS or a status; it may be changed at any time.

    `mix`: shares of the calls that are answered in other ways, such as {"reset-after": 0.05}. `keep`: mails remembered.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        delay: float = 0.0,
        answer: str = "ok",
        tls: ssl.SSLContext | None = None,
        keep: int = KEEP,
    ) -> None:
        self.port = port
        self.tls = tls
        self.delay = delay
        self.answer = answer
        self.mix: dict[str, float] = {}
        self.count = 0
        self.calls = 0
        self.bytes_written = 0
        self.received: deque[dict[str, Any]] = deque(maxlen=keep)
        self.times: deque[tuple[int, int]] = deque(maxlen=keep)
        self.connections: set[int] = set()
        self.called = asyncio.Event()
        self.stopped = asyncio.Event()

    async def __aenter__(self) -> "LocalProvider":
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/v3/mail/send", self._sendgrid)
        app.router.add_post("/v3/{domain}/messages", self._mailgun)
        app.router.add_get("/deliveries", self._show)
        app.router.add_delete("/deliveries", self._forget)
        app.router.add_get("/calls", self._show_calls)
        app.router.add_post("/configure", self._configure)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, backlog=1024, ssl_context=self.tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stopped.set()
        await self._runner.cleanup()

    @property
    def sendgrid_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v3/"

    @property
    def mailgun_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v3"

    async def _sendgrid(self, request: web.Request) -> web.StreamResponse:
        self._note_call(request)
        if request.headers.get("Authorization") != f"Bearer {SENDGRID_KEY}":
            return _errors(401, "The provided authorization grant is invalid, expired, or revoked", None)
        if self.answer == "reset-before":
            return _reset(request)
        error, mail = _read_sendgrid(request.content_type, await request.read())
        if error is not None:
            return error
        return await self._respond(request, "sendgrid", mail)

    async def _mailgun(self, request: web.Request) -> web.StreamResponse:
        self._note_call(request)
        expected = "Basic " + base64.b64encode(f"api:{MAILGUN_KEY}".encode()).decode()
        if request.headers.get("Authorization") != expected:
            return web.Response(status=401, text="Forbidden")
        if request.match_info["domain"] != MAILGUN_DOMAIN:
            return web.json_response({"message": f"Domain not found: {request.match_info['domain']}"}, status=404)
        if self.answer == "reset-before":
            return _reset(request)
        error, mail = _read_mailgun(await _form(request))
        if error is not None:
            return error
        return await self._respond(request, "mailgun", mail)

    def _note_call(self, request: web.Request) -> None:
        request[ARRIVED_NS] = time.monotonic_ns()
        self.calls += 1
        self.called.set()
        self.connections.add(id(request.transport))

    async def _respond(self, request: web.Request, provider: str, mail: dict[str, Any]) -> web.StreamResponse:
        with self._timed(request):
            if self.delay:
                await asyncio.sleep(self.delay)
            answer = self._drawn()
            if answer == "ok":
                return self._take(request, provider, mail)
            if answer not in ANSWERS:
                return _refusal(int(answer), provider)
            if answer in TAKING:
                self._take(request, provider, mail)
            return await ANSWERS[answer](self, request, provider)

    @contextlib.contextmanager
    def _timed(self, request: web.Request) -> Iterator[None]:
        try:
            yield
        finally:
            self.times.append((request[ARRIVED_NS], time.monotonic_ns()))

    def _drawn(self) -> str:
        if not self.mix:
            return self.answer
        others = 1.0 - sum(self.mix.values())
        return random.choices([*self.mix, self.answer], [*self.mix.values(), others])[0]

    def _take(self, request: web.Request, provider: str, mail: dict[str, Any]) -> web.Response:
        self.count += 1
        self.received.append({"provider": provider, "arrived_ns": request[ARRIVED_NS], **mail})
        if provider == "sendgrid":
            return web.Response(status=202, headers={"X-Message-Id": f"local-{self.count}"})
        return _mailgun_ok(f"<local-{self.count}@{MAILGUN_DOMAIN}>")

    async def _show(self, request: web.Request) -> web.Response:
        return web.json_response({"count": self.count, "calls": self.calls, "mails": list(self.received)})

    async def _forget(self, request: web.Request) -> web.Response:
        self.count = self.calls = 0
        self.received.clear()
        self.times.clear()
        return web.Response(status=204)

    async def _show_calls(self, request: web.Request) -> web.Response:
        return web.json_response({"calls": list(self.times)})

    async def _configure(self, request: web.Request) -> web.Response:
        wanted = await request.json()
        self.answer = str(wanted.get("answer", self.answer))
        self.delay = wanted.get("delay_ms", self.delay * 1000) / 1000
        self.mix = wanted.get("mix", self.mix)
        return web.json_response({"answer": self.answer, "delay_ms": self.delay * 1000, "mix": self.mix})


def _read_sendgrid(content_type: str, body: bytes) -> tuple[web.Response | None, dict[str, Any]]:
    """The mail of a request, or the error that the API description has for it."""
    if content_type != "application/json":
        return _errors(415, "content type must be application/json", None), {}
    try:
        data = json.loads(body)
    except ValueError:
        return _errors(400, "Bad Request", None), {}
    people = data.get("personalizations") or [{}]
    checks = [
        (not people[0].get("to"), "personalizations", "at least one recipient is required"),
        (not (data.get("from") or {}).get("email"), "from.email", "The from email is required"),
        (not data.get("subject"), "subject", "The subject is required"),
        (not data.get("content"), "content", "Unless a valid template_id is provided, the content is required"),
        (any(not part.get("value") for part in data.get("content") or []), "content", "must be at least one character"),
    ]
    for is_missing, field, words in checks:
        if is_missing:
            return _errors(400, words, field), {}
    error = _find_recipient_error([person["email"] for person in people[0]["to"]])
    if error is not None:
        return error, {}
    headers = {name.lower(): value for name, value in data.get("headers", {}).items()}
    return None, {
        "message_id": headers.get("message-id"),
        "mail_id": headers.get("x-mercury-id"),
        "metadata": data.get("custom_args", {}),
        "to": [person["email"] for person in people[0]["to"]],
        "from": data["from"]["email"],
        "subject": data["subject"],
        "text": data["content"][0]["value"],
    }


def _is_refused(address: str) -> bool:
    """Return True for an address that both providers find no address, though Mercury does."""
    return address.partition("@")[0].endswith("-")


def _find_recipient_error(addresses: list[str]) -> web.Response | None:
    """Return SendGrid's answer to addresses that are none, or that are the same but for upper and lower case."""
    bad = [number for number, address in enumerate(addresses) if _is_refused(address)]
    if bad:
        words = "Does not contain a valid address."
        errors = [{"message": words, "field": f"personalizations.0.to.{number}.email"} for number in bad]
        return web.json_response({"errors": errors}, status=400)
    if len({address.lower() for address in addresses}) < len(addresses):
        words = "Each email address in the personalization block should be unique between to, cc, and bcc."
        return _errors(400, words, "personalizations.0")
    return None


async def _form(request: web.Request) -> dict[str, list[str]]:
    if request.content_type == "multipart/form-data":
        fields: dict[str, list[str]] = {}
        for name, value in (await request.post()).items():
            fields.setdefault(name, []).append(value.filename if isinstance(value, web.FileField) else str(value))
        return fields
    return parse_qs((await request.read()).decode(), keep_blank_values=True)


def _read_mailgun(form: dict[str, list[str]]) -> tuple[web.Response | None, dict[str, Any]]:
    for name in ("from", "to"):
        if not form.get(name):
            return web.json_response({"message": f"{name} parameter is missing"}, status=400), {}
    if not any(form.get(name, [""])[0] for name in ("text", "html", "amp-html", "template")):
        words = "Need at least one of 'text', 'html', 'amp-html' or 'template' parameters specified"
        return web.json_response({"message": words}, status=400), {}
    if any(_is_refused(address) for text in form["to"] for address in text.split(",")):
        return web.json_response(
            {"message": "'to' parameter is not a valid address. please check documentation"}, status=400
        ), {}
    return None, {
        "message_id": form.get("h:Message-Id", [None])[0],
        "mail_id": form.get("h:X-Mercury-Id", [None])[0],
        "metadata": {name[2:]: value[0] for name, value in form.items() if name.startswith("v:")},
        "to": form["to"],
        "from": form["from"][0],
        "subject": form.get("subject", [""])[0],
        "text": form.get("text", [""])[0],
        "files": form.get("attachment", []),
    }


def _errors(status: int, message: str, field: str | None) -> web.Response:
    return web.json_response({"errors": [{"message": message, "field": field, "help": None}]}, status=status)


def _mailgun_ok(name: str) -> web.Response:
    return web.json_response({"id": name, "message": "Queued. Thank you."})


_WORDS = {401: "authorization required", 403: "access forbidden", 413: "content too large", 429: "too many requests"}


def _refusal(status: int, provider: str, headers: dict[str, str] | None = None, words: str = "") -> web.Response:
    message = words or _WORDS.get(status, f"status {status}")
    if provider == "sendgrid":
        answer = _errors(status, message, None)
    else:
        answer = web.json_response({"message": message}, status=status)
    answer.headers.update(headers or {})
    return answer


def _reset(request: web.Request) -> web.Response:
    """Break the connection with a TCP reset, as a crashing server or a middle box does."""
    if request.transport is not None:
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


def _with_retry_after(make: Callable[[], str], *, status: int = 429, header: str = "Retry-After") -> Answer:
    async def answer(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
        return _refusal(status, provider, {header: make()})

    return answer


def _in_words(status: int, words: str) -> Answer:
    async def answer(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
        return _refusal(status, provider, words=words)

    return answer


def _documented(provider: str) -> tuple[int, bytes]:
    """Status and body of the provider's good answer."""
    body = json.dumps({"id": "<local@mg.olimpus.com>", "message": "Queued. Thank you."}).encode()
    return (202, b"") if provider == "sendgrid" else (200, body)


async def _not_http(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.write(b"SMTP/1.0 250 what did you expect?\r\n\r\n")
        request.transport.close()
    return web.Response()


async def _redirect(server: LocalProvider, request: web.Request, provider: str, status: int) -> web.StreamResponse:
    return web.Response(status=status, headers={"Location": f"http://127.0.0.2:{server.port}{request.path}"})


async def _hang(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    await server.stopped.wait()
    return web.Response(status=503)


async def _drip(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    """A body that never ends, one byte at a time."""
    response = web.StreamResponse(status=_documented(provider)[0])
    await response.prepare(request)
    with contextlib.suppress(ConnectionError, asyncio.CancelledError):
        while not server.stopped.is_set():
            await response.write(b" ")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.stopped.wait(), 0.02)
    return response


async def _html(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    return web.Response(
        status=200, text="<html><body>Welcome to the hotel's Wi-Fi</body></html>", content_type="text/html"
    )


async def _accepted_html(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    return web.Response(status=202, text="<html><body>Accepted</body></html>", content_type="text/html")


async def _refused_html(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    return web.Response(status=400, text="<html><h1>400 Bad Request</h1></html>", content_type="text/html")


async def _half(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    """Headers that promise more than comes."""
    response = web.StreamResponse(status=_documented(provider)[0], headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"id": "<loc')
    if request.transport is not None:
        request.transport.close()
    return response


async def _huge(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    response = web.StreamResponse(status=_documented(provider)[0], headers={"Content-Length": str(HUGE)})
    await response.prepare(request)
    chunk = b" " * 64 * 1024
    with contextlib.suppress(ConnectionError):
        for _ in range(0, HUGE, len(chunk)):
            await response.write(chunk)
            server.bytes_written += len(chunk)
    return response


async def _huge_error(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    response = web.StreamResponse(status=400, headers={"Content-Length": str(HUGE)})
    await response.prepare(request)
    chunk = b"x" * 64 * 1024
    with contextlib.suppress(ConnectionError):
        for _ in range(0, HUGE, len(chunk)):
            await response.write(chunk)
            server.bytes_written += len(chunk)
    return response


async def _bomb(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    """A small body that unpacks to 50 MB."""
    body = gzip.compress(b" " * 50_000_000)
    status = _documented(provider)[0]
    return web.Response(status=status, body=body, headers={"Content-Encoding": "gzip"})


async def _gzip(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    """A good answer, packed though nobody asked for it."""
    status, body = _documented(provider)
    return web.Response(status=status, body=gzip.compress(body), headers={"Content-Encoding": "gzip"})


async def _reset_after(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    return _reset(request)


async def _reset_in_error(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    response = web.StreamResponse(status=503, headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    return _reset(request)


async def _secret_echo(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    """An error that repeats the credentials, with control characters around them."""
    words = f"bad header \x1b[31m{request.headers['Authorization']}\x00 {SENDGRID_KEY} {MAILGUN_KEY}" + "!" * 5000
    return web.json_response({"message": words, "errors": [{"message": words}]}, status=400)


async def _other_json(server: LocalProvider, request: web.Request, provider: str) -> web.StreamResponse:
    """The documented status with a document that is none of the provider's."""
    return web.json_response({"id": ["?"], "message": "Mailgun Magnificent API"}, status=_documented(provider)[0])


def _in_ten_minutes() -> str:
    return email.utils.formatdate(time.time() + 600, usegmt=True)


ANSWERS: dict[str, Answer] = {
    "429-seconds": _with_retry_after(lambda: "120"),
    "429-date": _with_retry_after(_in_ten_minutes),
    "429-absurd": _with_retry_after(lambda: "99999999999"),
    "429-nonsense": _with_retry_after(lambda: "tomorrow"),
    "429-words": _in_words(429, "requests-per-sec limit exceeded, try again after 90 seconds"),
    "429-reset": _with_retry_after(lambda: str(int(time.time() + 300)), header="X-RateLimit-Reset"),
    "429-concurrent": _in_words(429, "Too many concurrent requests"),
    "503-seconds": _with_retry_after(lambda: "120", status=503),
    "502-seconds": _with_retry_after(lambda: "120", status=502),
    "403-seconds": _with_retry_after(lambda: "120", status=403),
    "400-rate": _in_words(400, "Maximum sending rate exceeded"),
    "400-sender": _in_words(400, "The from address does not match a verified Sender Identity."),
    "400-trial": _in_words(400, "Free accounts are for test purposes only. Please upgrade."),
    "400-html": _refused_html,
    "302": lambda server, request, provider: _redirect(server, request, provider, 302),
    "307": lambda server, request, provider: _redirect(server, request, provider, 307),
    "hang": _hang,
    "drip": _drip,
    "not-http": _not_http,
    "200-html": _html,
    "202-html": _accepted_html,
    "other-json": _other_json,
    "half": _half,
    "huge": _huge,
    "huge-400": _huge_error,
    "bomb": _bomb,
    "gzip": _gzip,
    "reset-after": _reset_after,
    "reset-in-503": _reset_in_error,
    "secret-echo": _secret_echo,
}
TAKING = {"200-html", "202-html", "other-json", "half", "drip", "huge", "bomb", "gzip", "reset-after"}


async def _serve(port: int, delay: float, answer: str, keep: int) -> None:
    async with LocalProvider(port=port, delay=delay, answer=answer, keep=keep) as provider:
        print(json.dumps({"sendgrid": provider.sendgrid_url, "mailgun": provider.mailgun_url}), flush=True)
        await provider.stopped.wait()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8110)
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--answer", default="ok", help=f"ok, a status, or one of {', '.join(ANSWERS)}")
    parser.add_argument("--keep", type=int, default=KEEP, help="How many mails to remember.")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        event_loop.run(_serve(options.port, options.delay_ms / 1000, options.answer, options.keep))


if __name__ == "__main__":
    main()
