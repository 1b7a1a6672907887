"""Google Drive on this machine: https://developers.google.com/workspace/drive/api/reference/rest/v3, as far as files need it."""

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit, urlunsplit

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import jwt
from googleapiclient.http import build_http

from mercury.tests.lib.storages.stand_in import Answer, Request, StandIn, as_json, cut

FOLDER = "folder-of-mercury"
ACCOUNT = "mercury@olimpus.iam.gserviceaccount.com"
AUDIENCE = "https://oauth2.googleapis.com/token"  # whatever the `token_uri` of the key
SCOPE = "https://www.googleapis.com/auth/drive"


class GoogleDriveStandIn(StandIn):
    """Keeps files by id, several of one name if asked to. Checks the service account's signature."""

    def __init__(self) -> None:
        super().__init__()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.files: dict[str, tuple[str, bytes]] = {}  # by id: name and content
        self.uploads: dict[str, tuple[Any, bytes]] = {}  # by session: metadata, content so far
        self.takes: int | None = None  # bytes of one piece that arrive

    def write_key(self, path: Path) -> str:
        """Write the key of the service account, as Google writes it."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        info = {
            "type": "service_account",
            "project_id": "olimpus",
            "private_key_id": "1",
            "private_key": pem.decode(),
            "client_email": ACCOUNT,
            "token_uri": f"{self.url}/token",
        }
        path.write_text(json.dumps(info))
        return str(path)

    def answer(self, request: Request) -> Answer:
        if request.path == "/token":
            return self._give_token(request)
        if request.headers.get("authorization") != "Bearer ya29.token":
            return _refuse(401, "authError")
        if request.path == "/upload/drive/v3/files":
            return self._begin_upload(request)
        if request.path.startswith("/session/"):
            return self._continue_upload(request)
        if request.path == "/drive/v3/files":
            return self._list(request)
        return self._answer_file(request, request.path.rpartition("/")[2])

    def _give_token(self, request: Request) -> Answer:
        given = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        claims = jwt.decode(given["assertion"], certs=public.decode(), audience=AUDIENCE)
        assert (claims["iss"], claims["scope"]) == (ACCOUNT, SCOPE)
        return as_json(200, {"access_token": "ya29.token", "expires_in": 3600, "token_type": "Bearer"})

    def _begin_upload(self, request: Request) -> Answer:
        metadata = json.loads(request.body)
        assert request.query["uploadType"] == "resumable"
        assert request.query["supportsAllDrives"] == "true"
        assert metadata["parents"] == [FOLDER]
        session = f"/session/{len(self.uploads)}"
        self.uploads[session] = (metadata, b"")
        return Answer(200, b"", {"Location": f"{self.url}{session}"})

    def _continue_upload(self, request: Request) -> Answer:
        metadata, content = self.uploads[request.path]
        found = re.fullmatch(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)", request.headers["content-range"])
        assert found is not None, request.headers["content-range"]
        if found[1] is not None:
            assert int(found[1]) == len(content), "a piece was left out or sent twice"
            assert int(found[2]) - int(found[1]) + 1 == len(request.body)
            content += request.body[: self.takes]
            self.uploads[request.path] = (metadata, content)
        if found[3] == "*" or len(content) < int(found[3]):
            return Answer(308, b"", {"Range": f"bytes=0-{len(content) - 1}"} if content else {})
        return as_json(200, self.add(metadata["name"], content))

    def add(self, name: str, content: bytes) -> dict[str, str]:
        file_id = f"id-{len(self.files)}"
        self.files[file_id] = (name, content)
        return {"id": file_id, "size": str(len(content))}

    def _list(self, request: Request) -> Answer:
        query = request.query["q"]
        found = re.fullmatch(r"name = '(.*)' and '(.*)' in parents and trashed = false", query)
        assert found is not None, query
        assert found[2] == FOLDER
        name = re.sub(r"\\(.)", r"\1", found[1])
        files = [{"id": key, "size": str(len(body))} for key, (named, body) in self.files.items() if named == name]
        return as_json(200, {"files": files})

    def _answer_file(self, request: Request, file_id: str) -> Answer:
        if file_id not in self.files:
            return _refuse(404, "notFound")
        if request.method == "DELETE":
            del self.files[file_id]
            return Answer(204)
        assert request.query["alt"] == "media"
        return cut(self.files[file_id][1], request.headers.get("range", ""))


def connect(stand_in: StandIn) -> Any:
    """A connection whose requests for Google go to the stand-in."""
    connection = build_http()
    request = connection.request

    def redirect(uri: str, *args: Any, **options: Any) -> Any:
        split, local = urlsplit(uri), urlsplit(stand_in.url)
        assert split.hostname in ("www.googleapis.com", local.hostname), split.hostname
        return request(urlunsplit((local.scheme, local.netloc, split.path, split.query, "")), *args, **options)

    connection.request = redirect
    return connection


def _refuse(status: int, reason: str) -> Answer:
    return as_json(status, {"error": {"code": status, "errors": [{"reason": reason}], "message": reason}})
