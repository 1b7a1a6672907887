"""The HTTP client, against servers that keep to no rule."""

import asyncio
import contextlib
import datetime as dt
import os
import select
import socket

import pytest

from mercury.lib.runtime import event_loop
from providers import outbound_hosts, tls
from providers.outcomes import Accepted
from providers.tests.support import accounts, certificates, tables
from providers.tests.support.scripted_http import OK, Reply, ScriptedHttp
from providers.transports import http_client, http_connection, tcp
from providers.transports.http_client import HttpClient, build_head, parse_endpoint
from providers.transports.http_connection import (
    MAX_ANSWER,
    MAX_HEAD,
    AnswerTimeout,
    AnswerUnreadable,
    ConnectionLost,
    NotConnected,
)
from providers.transports.sender import Sender

BODY = b'{"subject": "You made my day"}'
LATE = 0.25  # seconds that a busy machine may add to a deadline


@contextlib.asynccontextmanager
async def _client(**limits):
    resolver = outbound_hosts.GuardedResolver(frozenset({"127.0.0.1", "olympus.test"}))
    client = HttpClient(**{"deadline": 5.0, "connect_timeout": 1.0, **limits}, resolver=resolver)
    try:
        yield client
    finally:
        client.close()


async def _call(client, url, *, body=BODY, time_left=5.0, context=None):
    endpoint = parse_endpoint(url)
    head = build_head(endpoint, "POST", {"Authorization": "Bearer thunderbolt"}, len(body))
    return await client.call(endpoint, head, body, tls=context or tls.build_client_context(), time_left=time_left)


async def _call_once(*replies, **changes):
    """The answer to one call."""
    async with ScriptedHttp(*replies) as server, _client() as client:
        return await _call(client, server.sendgrid_url, **changes)


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("data", "status", "content"),
    [
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", 202, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n", 304, b""),
        (HEAD + b"content-LENGTH: 5\r\n\r\nHello", 200, b"Hello"),
        (
            HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nHel\r\n2;x=y\r\nlo\r\n0\r\nX-Trailer: 1\r\n\r\n",
            200,
            b"Hello",
        ),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n5 \r\nHello\r\n0\r\n\r\n", 200, b"Hello"),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\nX-Odd: \x01\n\nHello", 200, b"Hello"),
        (b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nHello", 200, b"Hello"),
        (b"HTTP/1.1 999 \xe9\r\nX-Odd: \xe9\r\nContent-Length: 5\r\n\r\nHello", 999, b"Hello"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + OK, 202, b""),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 101, b""),
    ],
)
def test_an_answer_that_says_where_it_ends_is_whole(data, status, content):
    answer = event_loop.run(_call_once(Reply(data=data)))

    assert (answer.status_code, answer.content, answer.is_whole) == (status, content, True)


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", HEAD + b"\r\n", HEAD + b"Connection: close\r\n\r\n"])
def test_an_answer_without_a_length_ends_with_the_connection(head):
    answer = event_loop.run(_call_once(Reply(data=head + b"Hello", then="close")))

    assert (answer.status_code, answer.content, answer.is_whole) == (200, b"Hello", True)


@pytest.mark.parametrize(
    "reply",
    [
        Reply(data=HEAD + b"Content-Length: 9\r\n\r\nHello", then="close"),
        Reply(data=HEAD + b"Content-Length: 9\r\n\r\nHello", then="reset"),
        Reply(data=HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n", then="close"),
        Reply(data=HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nHello\r\nzz\r\n"),
        Reply(data=HEAD + b"Transfer-Encoding: gzip\r\n\r\nHello", then="close"),
        Reply(data=HEAD + b"Content-Length : 9\r\n\r\nHello", then="close"),
    ],
)
def test_a_status_is_an_answer_even_if_the_body_breaks_off(reply):
    answer = event_loop.run(_call_once(reply))

    assert (answer.status_code, answer.is_whole) == (200, False)
    assert answer.content in (b"Hello", b"")


@pytest.mark.parametrize(
    "data",
    [
        b"SMTP/1.0 250 ready\r\n\r\n",
        b"<html>",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nHello!",
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nHello\r\n0\r\n\r\n",
        HEAD + b"Content-Length: -1\r\n\r\n",
        HEAD + b"Bad Name: 1\r\nContent-Length: 0\r\n\r\n",
        HEAD + b"X: " + b"a" * MAX_HEAD,
        HEAD + b"X: a\r\n" * MAX_HEAD,
        b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_HEAD,
        b"Bearer thunderbolt",
    ],
)
def test_what_is_not_http_or_has_no_clear_end_is_unreadable(data):
    with pytest.raises(AnswerUnreadable) as found:
        event_loop.run(_call_once(Reply(data=data)))

    assert "thunderbolt" not in f"{found.value!r}"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 100 Continue\r\n\r\n"])
@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("reads", ["all", "head"])
def test_a_connection_that_ends_before_a_status_is_lost(start, then, reads):
    with pytest.raises(ConnectionLost):
        event_loop.run(_call_once(Reply(data=start, then=then, reads=reads)))


def _connect_late(monkeypatch, listener, greeting):
    """Let each connection be given to the client only after the server has greeted, or hung up."""
    open_socket = tcp.open_socket

    async def open_late(addresses):
        sock = await open_socket(addresses)
        accepted, _ = listener.accept()
        accepted.sendall(greeting)
        if not greeting:
            accepted.close()
        select.select([sock], [], [], 2)
        return sock

    monkeypatch.setattr(tcp, "open_socket", open_late)


@pytest.mark.parametrize("greeting", [b"", b"220 smtp.olympus.test ready\r\n", OK])
def test_a_server_that_hangs_up_or_speaks_before_it_is_asked_was_sent_nothing(monkeypatch, greeting):
    async def scenario(listener):
        async with _client() as client:
            with pytest.raises(NotConnected) as found:
                await _call(client, f"http://127.0.0.1:{listener.getsockname()[1]}/")
            await asyncio.sleep(0)
            return found.value.cause, len(client._open)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        _connect_late(monkeypatch, listener, greeting)
        cause, still_open = event_loop.run(scenario(listener))

    assert isinstance(cause, ConnectionResetError)
    assert still_open == 0


@pytest.mark.parametrize(
    "body",
    [
        b"x" * (MAX_ANSWER + 1),
        b"x" * 3_000_000,
    ],
)
def test_a_body_is_read_up_to_the_limit(body):
    answer = event_loop.run(_call_once(Reply(data=HEAD + b"Content-Length: 90000000\r\n\r\n" + body)))

    assert (len(answer.content), answer.is_whole) == (MAX_ANSWER, False)


def test_a_body_of_exactly_the_limit_is_whole():
    reply = Reply(data=HEAD + b"Content-Length: %d\r\n\r\n" % MAX_ANSWER + b"x" * MAX_ANSWER)

    answer = event_loop.run(_call_once(reply))

    assert (len(answer.content), answer.is_whole) == (MAX_ANSWER, True)


def test_framing_without_end_is_not_read_forever():
    data = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5;" + b"x" * 3_000_000

    answer = event_loop.run(_call_once(Reply(data=data)))

    assert not answer.is_whole


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "Accepted 202"), (b"\x1f\x8b\x08", "Unknown `unexpected-202`")]
)
def test_an_empty_body_needs_no_decompression(settings, content, expected):
    """Some proxies name an encoding for every answer."""
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    head = b"HTTP/1.1 202 Accepted\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(content)

    async def scenario():
        async with ScriptedHttp(Reply(data=head + content)) as server:
            return await accounts.send(accounts.sendgrid(server))

    assert tables.describe(event_loop.run(scenario())) == expected


def test_headers_are_found_in_any_case_and_the_first_of_one_name_counts():
    data = b"HTTP/1.1 429 No\r\nRETRY-after: 12\r\nRetry-After: 13\r\nContent-Length: 0\r\n\r\n"

    answer = event_loop.run(_call_once(Reply(data=data)))

    assert answer.headers["Retry-After"] == "12"
    assert "retry-after" in answer.headers
    assert dict(answer.headers) == {"retry-after": "12", "content-length": "0"}


@pytest.mark.parametrize(
    ("reply", "connections"),
    [
        (Reply(), 1),
        (Reply(data=HEAD + b"Connection: close\r\nContent-Length: 0\r\n\r\n"), 2),
        (Reply(data=b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"), 2),
        (Reply(data=OK + b"surplus"), 2),
        (Reply(data=OK + OK), 2),
        (Reply(data=HEAD + b"Content-Length: 9000000\r\n\r\n" + b"x" * 9_000_000), 2),
    ],
)
def test_a_connection_is_used_again_only_where_nothing_can_be_left_on_it(reply, connections):
    async def scenario():
        async with ScriptedHttp(reply) as server, _client() as client:
            for _ in range(2):
                await _call(client, server.sendgrid_url)
            return server.connections, len(server.requests)

    assert event_loop.run(scenario()) == (connections, 2)


@pytest.mark.parametrize("surplus", [OK, b"x", b""])
def test_a_kept_connection_on_which_the_server_speaks_or_hangs_up_is_not_used_again(surplus):
    async def scenario():
        async with ScriptedHttp() as server, _client() as client:
            await _call(client, server.sendgrid_url)
            if surplus:
                server.writers[0].write(surplus)
            else:
                server.writers[0].write_eof()
            await server.closed.wait()
            answer = await _call(client, server.sendgrid_url)
            return answer.status_code, server.connections

    assert event_loop.run(scenario()) == (202, 2)


@pytest.mark.parametrize("surplus", [OK, b"x"])
def test_what_came_while_the_loop_was_busy_is_no_answer_to_the_next_request(surplus):
    async def scenario():
        async with (
            ScriptedHttp(Reply(), Reply(data=b"HTTP/1.1 429 No\r\nContent-Length: 0\r\n\r\n")) as server,
            _client() as client,
        ):
            await _call(client, server.sendgrid_url)
            os.write(server.writers[0].get_extra_info("socket").fileno(), surplus)  # the loop reads nothing in between
            answer = await _call(client, server.sendgrid_url)
            return answer.status_code, server.connections

    assert event_loop.run(scenario()) == (429, 2)


def test_thousands_of_hosts_leave_descriptors_free(monkeypatch):
    monkeypatch.setattr(http_client, "MAX_OPEN", 2)

    async def scenario():
        async with contextlib.AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(ScriptedHttp()) for _ in range(4)]
            client = await stack.enter_async_context(_client())
            for server in servers:
                await _call(client, server.sendgrid_url)
            await asyncio.wait_for(servers[3].closed.wait(), 2)
            return len(client._open)

    assert event_loop.run(scenario()) == 2


def test_an_idle_connection_is_closed_in_time(monkeypatch):
    monkeypatch.setattr(http_client, "KEEPALIVE", 0.05)

    async def scenario():
        async with ScriptedHttp() as server, _client() as client:
            await _call(client, server.sendgrid_url)
            await asyncio.wait_for(server.closed.wait(), 2)
            return len(client._open), client._idle

    assert event_loop.run(scenario()) == (0, {})


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize("reads", ["all", "head", "nothing"])
def test_a_request_on_a_stale_connection_is_not_repeated(then, reads):
    """The server ends a kept connection when, or before, the next request arrives: nobody may send that once more."""

    async def scenario():
        stale = Reply(data=b"", then=then, reads=reads)
        async with ScriptedHttp(Reply(), stale, Reply()) as server, _client() as client:
            await _call(client, server.sendgrid_url)
            with contextlib.suppress(ConnectionLost):
                await _call(client, server.sendgrid_url, body=b"only once")
            return sum(request.endswith(b"only once") for request in server.requests)

    assert event_loop.run(scenario()) <= 1


def test_no_request_arrives_twice_while_the_server_keeps_hanging_up():
    """Each answer promises a connection that the server closes at once: a race that both sides win now and then."""

    async def scenario():
        async with ScriptedHttp(Reply(then="close")) as server, _client() as client:
            lost = 0
            for number in range(200):
                try:
                    await _call(client, server.sendgrid_url, body=b"email %d." % number)
                except ConnectionLost:
                    lost += 1
            bodies = [request.rpartition(b"\r\n\r\n")[2] for request in server.requests]
            return bodies, lost

    bodies, lost = event_loop.run(scenario())

    assert len(bodies) == len(set(bodies))
    assert len(bodies) >= 200 - lost


@pytest.mark.parametrize(
    "reply",
    [
        Reply(data=b""),
        Reply(data=b"HTTP/1.1 100 Continue\r\n\r\n", drip=0.005),
        Reply(data=b"X: a\r\n", drip=0.005, reads="head"),
    ],
)
def test_a_deadline_ends_a_call_without_a_status(reply):
    async def scenario():
        async with ScriptedHttp(reply) as server, _client() as client:
            loop = asyncio.get_running_loop()
            began = loop.time()
            with pytest.raises((AnswerTimeout, AnswerUnreadable)):
                await _call(client, server.sendgrid_url, time_left=0.3)
            return loop.time() - began

    assert event_loop.run(scenario()) < 0.3 + LATE


def test_a_deadline_ends_an_answer_that_drips():
    async def scenario():
        reply = Reply(data=HEAD + b"Content-Length: 90000\r\n\r\n" + b"x" * 1000, drip=0.001)
        async with ScriptedHttp(reply) as server, _client() as client:
            began = asyncio.get_running_loop().time()
            answer = await _call(client, server.sendgrid_url, time_left=0.4)
            return answer, asyncio.get_running_loop().time() - began

    answer, took = event_loop.run(scenario())

    assert (answer.status_code, answer.is_whole) == (200, False)
    assert 0.39 < took < 0.4 + LATE


def test_a_cancelled_call_leaves_no_connection():
    async def scenario():
        async with ScriptedHttp(Reply(data=b"")) as server, _client() as client:
            call = asyncio.create_task(_call(client, server.sendgrid_url))
            await server.asked.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await asyncio.wait_for(server.closed.wait(), 2)
            return len(client._open), client._idle

    assert event_loop.run(scenario()) == (0, {})


def test_closing_the_client_ends_its_calls():
    async def scenario():
        async with ScriptedHttp(Reply(data=b"")) as server, _client() as client:
            call = asyncio.create_task(_call(client, server.sendgrid_url))
            await server.asked.wait()
            client.close()
            with pytest.raises(ConnectionLost):
                await call

    event_loop.run(scenario())


def test_256_calls_are_in_progress_at_once():
    async def scenario():
        async with ScriptedHttp(Reply(data=b"")) as server, _client() as client:
            calls = [asyncio.create_task(_call(client, server.sendgrid_url, time_left=10)) for _ in range(256)]
            while len(server.requests) < 256:
                server.asked.clear()
                await server.asked.wait()
            for writer in server.writers:
                writer.write(OK)
            return {(await call).status_code for call in calls}, server.connections

    assert event_loop.run(scenario()) == ({202}, 256)


@pytest.mark.parametrize("is_encrypted", [False, True])
@pytest.mark.parametrize("status", [202, 413])
def test_a_large_request_is_answered_early_and_its_connection_is_not_used_again(tmp_path, status, is_encrypted):
    ca, context = certificates.with_authority(tmp_path)
    early = Reply(data=b"HTTP/1.1 %d Early\r\nContent-Length: 0\r\n\r\n" % status, reads="head")

    async def scenario():
        async with ScriptedHttp(early, Reply(), tls=context if is_encrypted else None) as server, _client() as client:
            trusted = tls.build_client_context(ca)
            first = await _call(client, server.sendgrid_url, body=b"x" * 30_000_000, context=trusted)
            second = await _call(client, server.sendgrid_url, context=trusted)
            return first.status_code, first.is_whole, second.status_code, server.connections

    assert event_loop.run(scenario()) == (status, False, 202, 2)


def test_an_email_that_the_provider_has_not_read_is_not_accepted(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedHttp(Reply(reads="head")) as server:
            return await accounts.send(accounts.sendgrid(server), accounts.mail(body="x" * 20_000_000))

    assert tables.describe(event_loop.run(scenario())) == "Unknown `unexpected-202`"


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_no_more_of_a_large_request_is_written_than_the_server_reads(tmp_path, monkeypatch, is_encrypted):
    ca, context = certificates.with_authority(tmp_path)
    written = []
    write_rest = http_connection.HttpConnection._write_rest

    def note(connection):
        write_rest(connection)
        written.append(30_000_000 - len(connection._unsent))

    monkeypatch.setattr(http_connection.HttpConnection, "_write_rest", note)

    async def scenario():
        reply = Reply(data=b"", reads="head")
        async with ScriptedHttp(reply, tls=context if is_encrypted else None) as server, _client() as client:
            with pytest.raises(AnswerTimeout):
                await _call(
                    client,
                    server.sendgrid_url,
                    body=b"x" * 30_000_000,
                    context=tls.build_client_context(ca),
                    time_left=0.5,
                )

    event_loop.run(scenario())

    assert 0 < written[-1] < 20_000_000


@pytest.mark.parametrize("is_encrypted", [False, True])
def test_a_large_request_arrives_whole(tmp_path, is_encrypted):
    ca, context = certificates.with_authority(tmp_path)
    body = bytes(range(256)) * 20_000

    async def scenario():
        async with ScriptedHttp(tls=context if is_encrypted else None) as server, _client() as client:
            for _ in range(2):
                await _call(client, server.sendgrid_url, body=body, context=tls.build_client_context(ca))
            return server.connections, [request.endswith(b"\r\n\r\n" + body) for request in server.requests]

    assert event_loop.run(scenario()) == (1, [True, True])


def test_the_next_address_is_tried_if_one_refuses_or_does_not_answer(monkeypatch):
    async def scenario():
        async with ScriptedHttp() as server, _client(connect_timeout=3.0) as client:
            with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, contextlib.ExitStack() as stack:
                for _ in range(2):
                    filler = stack.enter_context(socket.socket())
                    filler.setblocking(False)
                    filler.connect_ex(deaf.getsockname())
                addresses = [
                    (socket.AF_INET6, ("::1", 1, 0, 0)),
                    (socket.AF_INET, deaf.getsockname()),
                    (socket.AF_INET, ("127.0.0.1", server.port)),
                ]

                async def look_up(host, port):
                    return addresses

                monkeypatch.setattr(outbound_hosts, "look_up", look_up)
                answer = await _call(client, "http://olympus.test/v3/")
            return answer.status_code, server.requests

    status, requests = event_loop.run(scenario())

    assert status == 202
    assert b"\r\nHost: olympus.test\r\n" in requests[0]


def _serve_another_name(monkeypatch):
    async def look_up(host, port):
        return [(socket.AF_INET, ("127.0.0.1", port))]

    monkeypatch.setattr(outbound_hosts, "look_up", look_up)


def test_a_certificate_for_another_name_is_refused(tmp_path, monkeypatch):
    ca, context = certificates.with_authority(tmp_path)
    _serve_another_name(monkeypatch)

    async def scenario():
        async with ScriptedHttp(tls=context) as server, _client() as client:
            with pytest.raises(NotConnected) as found:
                await _call(client, f"https://olympus.test:{server.port}/", context=tls.build_client_context(ca))
            return found.value.cause.verify_message, server.requests

    words, requests = event_loop.run(scenario())

    assert "olympus.test" in words
    assert requests == []


def test_an_expired_certificate_is_refused_with_the_reason(settings, tmp_path):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    ca, context = certificates.with_authority(tmp_path, valid_for=dt.timedelta(seconds=-1))

    async def scenario():
        async with ScriptedHttp(tls=context) as server:
            account = accounts.sendgrid(server)
            account.options["ca"] = ca
            return await accounts.send(account), server.requests

    outcome, requests = event_loop.run(scenario())

    assert tables.describe(outcome) == "Refused provider `tls`"
    assert outcome.reason == "TLS failed: certificate has expired"
    assert requests == []


def test_an_authority_of_ones_own_replaces_the_public_ones(tmp_path, monkeypatch):
    public, context = certificates.with_authority(tmp_path)
    own, _ = certificates.with_authority(tmp_path)
    (tmp_path / "public.pem").write_text(public)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "public.pem"))
    build = tls.build_client_context.__wrapped__

    async def scenario():
        async with ScriptedHttp(tls=context) as server, _client() as client:
            answer = await _call(client, server.sendgrid_url, context=build())
            with pytest.raises(NotConnected):
                await _call(client, server.sendgrid_url, context=build(own))
            return answer.status_code, len(server.requests)

    assert event_loop.run(scenario()) == (202, 1)


def test_a_server_that_hangs_in_the_handshake_was_sent_nothing(settings, tmp_path):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedHttp(Reply(data=b"")) as server:
            url = server.sendgrid_url.replace("http://", "https://")
            return await accounts.send(accounts.sendgrid(server, api_url=url), deadline=0.5)

    assert tables.describe(event_loop.run(scenario())) == "Refused provider `connect-timeout`"


_HEAD_OF_202 = b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\n"


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (Reply(data=b"", then="reset", reads="head"), "Unknown `connection-lost`"),
        (Reply(data=b"", then="reset"), "Unknown `connection-lost`"),
        (Reply(data=_HEAD_OF_202[:1], then="reset"), "Unknown `connection-lost`"),
        (Reply(data=_HEAD_OF_202[:12], then="reset"), "Unknown `connection-lost`"),
        (Reply(data=_HEAD_OF_202[:-1], then="reset"), "Unknown `connection-lost`"),
        (Reply(data=_HEAD_OF_202, then="reset"), "Unknown `unexpected-202`"),
        (Reply(data=_HEAD_OF_202 + b"12345678", then="reset"), "Unknown `unexpected-202`"),
        (Reply(data=_HEAD_OF_202.replace(b"202", b"503"), then="reset"), "Refused provider `http-503`"),
        (Reply(data=_HEAD_OF_202.replace(b"202", b"500"), then="reset"), "Unknown `http-500`"),
        (Reply(data=_HEAD_OF_202.replace(b"202", b"400"), then="reset"), "Refused account `http-400`"),
        (Reply(data=_HEAD_OF_202.replace(b"202", b"101"), then="reset"), "Unknown `http-101`"),
    ],
)
@pytest.mark.parametrize("is_encrypted", [False, True])
def test_the_outcome_of_a_reset_follows_from_what_came_before_it(settings, tmp_path, reply, expected, is_encrypted):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    ca, context = certificates.with_authority(tmp_path)

    async def scenario():
        async with ScriptedHttp(reply, tls=context if is_encrypted else None) as server:
            account = accounts.sendgrid(server)
            account.options["ca"] = ca
            return await accounts.send(account)

    assert tables.describe(event_loop.run(scenario())) == expected


@pytest.mark.parametrize("then", ["close", "reset"])
def test_a_reset_within_the_tls_handshake_was_sent_nothing(settings, then):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedHttp(Reply(data=b"", then=then, reads="nothing")) as server:
            url = server.sendgrid_url.replace("http://", "https://")
            return await accounts.send(accounts.sendgrid(server, api_url=url))

    assert tables.describe(event_loop.run(scenario())).startswith("Refused provider")


def test_the_request_has_these_headers_and_no_others(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    reply = Reply(data=b"HTTP/1.1 202 Accepted\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n")

    async def scenario():
        async with ScriptedHttp(reply) as server, Sender(deadline=5, connect_timeout=1, concurrency=1) as sender:
            account = accounts.sendgrid(server, api_key="thunderbolt")
            outcomes = [await sender.send(account, accounts.mail()) for _ in range(2)]
            return outcomes, server

    outcomes, server = event_loop.run(scenario())

    assert all(isinstance(outcome, Accepted) for outcome in outcomes)
    for request in server.requests:
        head, _, body = request.partition(b"\r\n\r\n")
        assert head.decode().split("\r\n") == [
            "POST /v3/mail/send HTTP/1.1",
            f"Host: 127.0.0.1:{server.port}",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "User-Agent: Mercury/1.0",
            "Authorization: Bearer thunderbolt",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\rb", "a\0b"])
def test_a_header_cannot_begin_another(value):
    with pytest.raises(ValueError, match="line break"):
        build_head(parse_endpoint("https://olympus.test/"), "POST", {"Authorization": value}, 0)


def test_a_key_that_no_header_can_hold_is_never_sent(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]

    async def scenario():
        async with ScriptedHttp() as server:
            account = accounts.sendgrid(server, api_key="thunder\r\nbolt")
            return await accounts.send(account), server.connections

    outcome, connections = event_loop.run(scenario())

    assert tables.describe(outcome) == "Not attempted account `account-unusable`"
    assert connections == 0


@pytest.mark.parametrize(
    ("url", "host", "port", "target", "header"),
    [
        ("https://LOCALHOST.:443/v3?x=1", "localhost", 443, "/v3?x=1", "localhost"),
        ("http://[::1]:8443/a b", "::1", 8443, "/a%20b", "[::1]:8443"),
        ("https://Ölymp.test", "xn--lymp-4qa.test", 443, "/", "xn--lymp-4qa.test"),
    ],
)
def test_where_a_url_leads(url, host, port, target, header):
    endpoint = parse_endpoint(url)

    assert (endpoint.host, endpoint.port, endpoint.request_target, endpoint.host_header) == (host, port, target, header)
    assert endpoint.host == outbound_hosts.extract_host(url)


@pytest.mark.parametrize("url", ["", "olympus.test", "ftp://olympus.test/", "http:///x", "http://a:99999/"])
def test_what_is_no_url_leads_nowhere(url):
    with pytest.raises(ValueError, match=r"."):
        parse_endpoint(url)
