"""An HTTP server on this machine that plays a service of files: what both have in common."""

import io
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from django.core.files.base import File


class Request(NamedTuple):
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


class Answer(NamedTuple):
    status: int
    body: bytes = b""
    headers: Mapping[str, str] = {}


def as_json(status: int, document: Any, **headers: str) -> Answer:
    return Answer(status, json.dumps(document).encode(), {"Content-Type": "application/json", **headers})


LOST = Answer(0)  # the connection ends instead of an answer


class Stream(File):
    """Bytes that can be read once, like an upload: their size is not known before."""

    def __init__(self, content: bytes) -> None:
        self._source = io.BytesIO(content)
        super().__init__(self._source)

    def read(self, size: int = -1) -> bytes:
        return self._source.read(min(size, 100_000))

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation

    def seekable(self) -> bool:
        return False

    @property
    def size(self) -> int:
        raise AttributeError


class StandIn:
    """Answers by `answer`, and first with each of `failures`, by the number of the request from now on."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.failures: list[Answer | None] = []
        self.url = ""

    def answer(self, request: Request) -> Answer:
        raise NotImplementedError

    def answer_next(self, request: Request) -> Answer:
        self.requests.append(request)
        failure = self.failures.pop(0) if self.failures else None
        return failure or self.answer(request)

    def list_paths(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.requests]

    @contextmanager
    def serve(self) -> Iterator[None]:
        stand_in = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_any(self) -> None:
                split = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(split.query).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = stand_in.answer_next(Request(self.command, split.path, query, headers, body))
                if answer is LOST:
                    self.close_connection = True
                    return
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(answer.body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)

            do_GET = do_POST = do_PUT = do_DELETE = do_any  # noqa: N815 (the names of the base class)

            def log_message(self, *_: Any) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}"
            threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
            try:
                yield
            finally:
                server.shutdown()


def cut(content: bytes, wanted: str) -> Answer:
    """The bytes that a Range header asks for."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted)
    if found is None:
        return Answer(200, content)
    first, last = int(found[1]), min(int(found[2]), len(content) - 1)
    if first >= len(content):
        return Answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
    return Answer(206, content[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(content)}"})
