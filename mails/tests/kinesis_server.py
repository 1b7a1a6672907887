"""A stream of Kinesis that refuses what a test chooses: PutRecords alone, over HTTP, as moto has no shard that is ever busy."""

import base64
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ACCEPT = ""
Event = dict[str, object]


@dataclass
class Stream:
    """The state of the stream. `judge`: returns the error code for each record of a call; ACCEPT takes it.

    `loses_answer`: asked once for each call; then the call ends with a 500, whatever was taken.
    """

    judge: Callable[[Sequence[Event]], Sequence[str]]
    loses_answer: Callable[[], bool] = lambda: False
    port: int = 0
    stored: list[Event] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def put(self, events: Sequence[Event]) -> list[dict[str, str]]:
        """Judge the records and store those that are accepted; return the answer for each."""
        with self.lock:
            codes = self.judge(events)
            self.stored += [event for event, code in zip(events, codes, strict=True) if code == ACCEPT]
        return [
            {"ErrorCode": code, "ErrorMessage": "refused"} if code else {"SequenceNumber": "1", "ShardId": "0"}
            for code in codes
        ]


@contextmanager
def serve_kinesis(
    judge: Callable[[Sequence[Event]], Sequence[str]], *, loses_answer: Callable[[], bool] = lambda: False
) -> Iterator[Stream]:
    """Serve one stream, whatever its name."""
    stream = Stream(judge, loses_answer)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answers = stream.put([json.loads(base64.b64decode(record["Data"])) for record in asked["Records"]])
            if stream.loses_answer():
                self._answer(500, {"__type": "InternalFailure"})
            else:
                failed = sum("ErrorCode" in answer for answer in answers)
                self._answer(200, {"FailedRecordCount": failed, "Records": answers})

        def _answer(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(ConnectionError):  # a killed client says no goodbye
                self.wfile.write(body)

        def log_message(self, format: str, *values: object) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        stream.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield stream
        server.shutdown()
