"""A Kafka broker that refuses what a test chooses: librdkafka's mock cluster has no limits, and cannot be scripted from Python.

It speaks what an idempotent producer needs: ApiVersions, Metadata, InitProducerId, and Produce with record batches of version
2 (https://kafka.apache.org/protocol). Sequence numbers are checked as a broker does, so that a repeated batch is stored once.
"""

import socketserver
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

PRODUCE, FETCH, METADATA, API_VERSIONS, INIT_PRODUCER_ID = 0, 1, 3, 18, 22
# A producer writes batches of version 2 where a broker can be asked for them; nothing fetches from this one.
_VERSIONS = {PRODUCE: (3, 7), FETCH: (4, 4), METADATA: (0, 1), API_VERSIONS: (0, 0), INIT_PRODUCER_ID: (0, 0)}
OUT_OF_ORDER, UNSUPPORTED_VERSION = 45, 35
ACCEPT = 0
HANG_UP = -1000  # store the batch, and close the connection before the answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A record of the topic."""

    key: bytes
    value: bytes
    headers: dict[str, bytes]


@dataclass
class Broker:
    """The state of the broker. `judge`: returns the error code for a batch, by its size in bytes and its records."""

    judge: Callable[[int, Sequence[Stored]], int]
    port: int = 0
    stored: list[Stored] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    producers: int = 0
    expected: dict[tuple[int, int], int] = field(default_factory=dict)  # the next sequence of a producer and epoch

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def store(self, batch: bytes) -> int:
        """Judge a batch and store it; return the error code."""
        producer, epoch, first = struct.unpack_from(">qhi", batch, 43)
        records = list(_parse_records(batch))
        with self.lock:
            expected = self.expected.get((producer, epoch), 0)
            if first < expected:
                return ACCEPT  # it has this batch
            if first > expected:
                return OUT_OF_ORDER
            code = self.judge(len(batch), records)
            if code in (ACCEPT, HANG_UP):
                self.stored += records
                self.expected[producer, epoch] = first + len(records)
        return code


@contextmanager
def serve_kafka(judge: Callable[[int, Sequence[Stored]], int]) -> Iterator[Broker]:
    """Serve one broker with every topic, of one partition."""
    broker = Broker(judge)

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(ConnectionError):  # a killed producer says no goodbye
                while (request := self._receive()) is not None:
                    if (answer := _answer(broker, request)) is None:
                        return
                    self.request.sendall(struct.pack(">i", len(answer)) + answer)

        def _receive(self) -> bytes | None:
            if len(head := self._read(4)) < 4:
                return None
            return self._read(struct.unpack(">i", head)[0])

        def _read(self, size: int) -> bytes:
            read = bytearray()
            while len(read) < size and (chunk := self.request.recv(size - len(read))):
                read += chunk
            return bytes(read)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        broker.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield broker
        server.shutdown()


def _answer(broker: Broker, request: bytes) -> bytes | None:
    """Return the answer to a request; None to close the connection."""
    api, version, correlation = struct.unpack_from(">hhi", request)
    body = _Reader(request, 8)
    body.read_text()  # the client's id
    head = struct.pack(">i", correlation)
    if api == API_VERSIONS:
        code = 0 if version == 0 else UNSUPPORTED_VERSION
        rows = b"".join(struct.pack(">hhh", key, *versions) for key, versions in _VERSIONS.items())
        return head + struct.pack(">hi", code, len(_VERSIONS)) + rows
    if api == METADATA:
        return head + _describe_cluster(broker, body, version)
    if api == INIT_PRODUCER_ID:
        broker.producers += 1
        return head + struct.pack(">ihqh", 0, 0, broker.producers, 0)
    return _produce(broker, body, head, version)


def _describe_cluster(broker: Broker, body: "_Reader", version: int) -> bytes:
    topics = [body.read_text() for _ in range(max(0, body.read("i")))]
    rack, controller = (b"\xff\xff", struct.pack(">i", 0)) if version else (b"", b"")
    answer = struct.pack(">ii", 1, 0) + _text("127.0.0.1") + struct.pack(">i", broker.port) + rack + controller
    answer += struct.pack(">i", len(topics))
    for topic in topics:
        internal = b"\0" if version else b""
        answer += struct.pack(">h", 0) + _text(topic) + internal + struct.pack(">i", 1)
        answer += struct.pack(">hiiiiii", 0, 0, 0, 1, 0, 1, 0)
    return answer


def _produce(broker: Broker, body: "_Reader", head: bytes, version: int) -> bytes | None:
    body.read_text()  # the transaction
    body.read("h"), body.read("i")  # acks, timeout
    answer = struct.pack(">i", topics := body.read("i"))
    for _ in range(topics):
        answer += _text(body.read_text()) + struct.pack(">i", partitions := body.read("i"))
        for _ in range(partitions):
            index = body.read("i")
            code = broker.store(body.read_bytes(body.read("i")))
            if code == HANG_UP:
                return None
            answer += struct.pack(">ihqq", index, code, 0 if code == ACCEPT else -1, -1)
            answer += struct.pack(">q", 0) if version >= 5 else b""
    return head + answer + struct.pack(">i", 0)


def _parse_records(batch: bytes) -> Iterator[Stored]:
    (count,) = struct.unpack_from(">i", batch, 57)
    reader = _Reader(batch, 61)
    for _ in range(count):
        reader.read_varint(), reader.read("b"), reader.read_varint(), reader.read_varint()
        key, value = reader.read_bytes(reader.read_varint()), reader.read_bytes(reader.read_varint())
        headers = {}
        for _ in range(reader.read_varint()):
            name = reader.read_bytes(reader.read_varint()).decode()
            headers[name] = reader.read_bytes(reader.read_varint())
        yield Stored(key=key, value=value, headers=headers)


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def read(self, form: str) -> Any:
        (value,) = struct.unpack_from(f">{form}", self._data, self._at)
        self._at += struct.calcsize(f">{form}")
        return value

    def read_bytes(self, size: int) -> bytes:
        self._at += max(0, size)
        return self._data[self._at - max(0, size) : self._at]

    def read_text(self) -> str:
        return self.read_bytes(self.read("h")).decode()

    def read_varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.read("B")
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
