"""Dropbox on this machine: https://www.dropbox.com/developers/documentation/http/documentation, as far as files need it."""

import hashlib
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter

from mercury.tests.lib.storages.stand_in import Answer, Request, StandIn, as_json, cut

APP_KEY, APP_SECRET, REFRESH_TOKEN = "app-key", "app-secret", "refresh-token"
HOSTS = ("api.dropboxapi.com", "content.dropboxapi.com")
BLOCK = 4 * 1024 * 1024


class DropboxStandIn(StandIn):
    """Keeps files by path. Knows the app and its user, and checks what they are asked to check."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[str, bytes] = {}
        self.sessions: dict[str, bytes] = {}
        self.tokens = 0

    def answer(self, request: Request) -> Answer:
        if request.path == "/oauth2/token":
            return self._give_token(request)
        if request.headers.get("authorization") != f"Bearer token-{self.tokens}":
            return as_json(401, {"error_summary": "expired/", "error": {".tag": "expired_access_token"}})
        argument = json.loads(request.headers.get("dropbox-api-arg") or request.body)
        endpoint = request.path.removeprefix("/2/files/").replace("/", "_")
        return getattr(self, f"_{endpoint}")(argument, request)

    def _give_token(self, request: Request) -> Answer:
        given = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        expected = {
            "grant_type": "refresh_token",
            "refresh_token": REFRESH_TOKEN,
            "client_id": APP_KEY,
            "client_secret": APP_SECRET,
        }
        if given != expected:
            return as_json(400, {"error": "invalid_grant"})
        self.tokens += 1
        return as_json(200, {"access_token": f"token-{self.tokens}", "expires_in": 14400, "token_type": "bearer"})

    def _upload(self, argument: Any, request: Request) -> Answer:
        return self._check_hash(argument, request) or self._commit(argument, request.body)

    def _upload_session_start(self, argument: Any, request: Request) -> Answer:
        session = f"session-{len(self.sessions)}"
        self.sessions[session] = request.body
        return self._check_hash(argument, request) or as_json(200, {"session_id": session})

    def _upload_session_append_v2(self, argument: Any, request: Request) -> Answer:
        return self._append(argument, request) or as_json(200, None)

    def _upload_session_finish(self, argument: Any, request: Request) -> Answer:
        refused = self._append(argument, request)
        return refused or self._commit(argument["commit"], self.sessions[argument["cursor"]["session_id"]])

    def _append(self, argument: Any, request: Request) -> Answer | None:
        session, offset = argument["cursor"]["session_id"], argument["cursor"]["offset"]
        if offset != len(self.sessions[session]):
            return as_json(409, {"error_summary": "incorrect_offset/", "error": {".tag": "incorrect_offset"}})
        refused = self._check_hash(argument, request)
        if refused is None:
            self.sessions[session] += request.body
        return refused

    def _commit(self, argument: Any, content: bytes) -> Answer:
        path = argument["path"].lower()
        if path in self.files and argument["mode"] == "add":
            reason = {"reason": {".tag": "conflict", "conflict": {".tag": "file"}}, "upload_session_id": "s"}
            return as_json(409, {"error_summary": "path/conflict/file/", "error": {".tag": "path", **reason}})
        self.files[path] = content
        return as_json(200, self._describe(path))

    def _get_metadata(self, argument: Any, _: Request) -> Answer:
        path = argument["path"].lower()
        return as_json(200, {".tag": "file", **self._describe(path)}) if path in self.files else _not_found("path")

    def _delete_v2(self, argument: Any, _: Request) -> Answer:
        path = argument["path"].lower()
        if path not in self.files:
            return _not_found("path_lookup")
        answer = as_json(200, {"metadata": {".tag": "file", **self._describe(path)}})
        del self.files[path]
        return answer

    def _download(self, argument: Any, request: Request) -> Answer:
        path = argument["path"].lower()
        if path not in self.files:
            return _not_found("path")
        part = cut(self.files[path], request.headers.get("range", ""))
        return part._replace(headers={**part.headers, "Dropbox-API-Result": json.dumps(self._describe(path))})

    def _describe(self, path: str) -> dict[str, Any]:
        return {
            "name": path.rpartition("/")[2],
            "id": f"id:{path}",
            "client_modified": "2026-11-29T12:00:00Z",
            "server_modified": "2026-11-29T12:00:00Z",
            "rev": "0123456789abcdef",
            "size": len(self.files[path]),
            "path_lower": path,
            "path_display": path,
        }

    def _check_hash(self, argument: Any, request: Request) -> Answer | None:
        """Refuse a body that is not what the client says it is."""
        blocks = [request.body[at : at + BLOCK] for at in range(0, len(request.body), BLOCK)]
        expected = hashlib.sha256(b"".join(hashlib.sha256(block).digest() for block in blocks)).hexdigest()
        if argument.get("content_hash") in (None, expected):
            return None
        return as_json(409, {"error_summary": "content_hash_mismatch/", "error": {".tag": "content_hash_mismatch"}})


class ToStandIn(HTTPAdapter):
    """Sends the requests that are for Dropbox to the stand-in."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__()
        self._stand_in = stand_in

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        split = urlsplit(request.url or "")
        assert split.hostname in HOSTS, split.hostname
        local = urlsplit(self._stand_in.url)
        request.url = urlunsplit((local.scheme, local.netloc, split.path, split.query, ""))
        return super().send(request, *args, **options)


def _not_found(kind: str) -> Answer:
    error = {".tag": kind, kind: {".tag": "not_found"}}
    return as_json(409, {"error_summary": f"{kind}/not_found/..", "error": error})
