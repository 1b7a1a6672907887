"""An HTTP API on this machine that answers every request as a test says, and remembers it. It knows no provider."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from django.core.mail import EmailMessage

from providers.accounts.config import AccountConfig
from providers.kinds.base import ProviderKind
from providers.kinds.options import clean_options
from providers.outcomes import Outcome
from providers.tests.support import accounts


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceivedRequest:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: bytes
    form: Mapping[str, Any]  # empty for JSON


class ScriptedApi:
    """The server: `async with ScriptedApi(202, headers={"X-Message-Id": "1"}) as api`."""

    def __init__(self, status: int = 200, body: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        self._answer = (status, body, headers or {})
        self.received: list[ReceivedRequest] = []

    async def __aenter__(self) -> "ScriptedApi":
        app = web.Application()
        app.router.add_post("/{path:.*}", self._respond)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}/v3/"

    async def _respond(self, request: web.Request) -> web.Response:
        body = await request.read()
        form = {} if request.content_type == "application/json" else await request.post()
        self.received.append(
            ReceivedRequest(path=request.path, headers=request.headers.copy(), body=body, form=dict(form))
        )
        status, text, headers = self._answer
        return web.Response(status=status, text=text, headers=headers)

    async def send(self, kind: ProviderKind, message: EmailMessage | None = None, **options: Any) -> Outcome:
        """Send one email through an account of this kind here. Options that the kind requires have a value."""
        needed = {option.name: "a-key" for option in kind.options if option.required}
        cleaned = clean_options(kind.key, {**needed, "api_url": self.url, **options})
        return await accounts.send(AccountConfig(name="olympus", kind=kind.key, options=cleaned), message)
