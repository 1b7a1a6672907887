"""Answers without a provider's own document, as a proxy in front of any of them may give: the same for every HTTP kind."""

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.base import Transport
from providers.kinds.catalog import KINDS
from providers.tests.support import messages, tables
from providers.tests.support.scripted_api import ScriptedApi

PAGE = "<html><body><h1>The hotel's Wi-Fi</h1></body></html>"
OUTCOMES = {
    200: "Unknown `unexpected-200`",
    201: "Unknown `unexpected-201`",
    202: "Unknown `unexpected-202`",
    302: "Refused provider `http-302`",
    307: "Refused provider `http-307`",
    400: "Refused account `http-400`",
    401: "Refused account `http-401`",
    402: "Refused account `http-402`",
    403: "Refused account `http-403`",
    404: "Refused account `http-404`",
    405: "Refused account `http-405`",
    408: "Unknown `http-408`",
    413: "Refused message `http-413`",
    422: "Refused account `http-422`",
    425: "Refused provider `http-425`",
    429: "Refused rate `http-429` 30 s",
    500: "Unknown `http-500`",
    502: "Unknown `http-502`",
    503: "Refused provider `http-503`",
    504: "Unknown `http-504`",
    520: "Unknown `http-520`",
}
HTTP = [kind for kind in KINDS.values() if kind.transport is Transport.HTTP]


def _send(kind, status, **headers):
    """Return the outcome of one email, as the tables of the documentation name it."""
    message = messages.build_bare(body="<p>Χαῖρε, Ἥρα</p>")
    message.content_subtype = "html"

    async def scenario():
        async with ScriptedApi(status, PAGE, headers=headers) as api:
            return await api.send(kind, message)

    return tables.describe(event_loop.run(scenario()))


@pytest.fixture(autouse=True)
def _local_host(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


@pytest.mark.parametrize("kind", HTTP, ids=lambda kind: kind.key)
@pytest.mark.parametrize("status", OUTCOMES)
def test_a_web_page_becomes_the_same_for_every_kind(kind, status):
    assert _send(kind, status) == OUTCOMES[status]


@pytest.mark.parametrize("kind", HTTP, ids=lambda kind: kind.key)
@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (429, "Refused rate `http-429` 120 s"),
        (403, "Refused account `http-403` 120 s"),
        (502, "Unknown `http-502` 120 s"),
        (503, "Refused provider `http-503` 120 s"),
    ],
)
def test_a_wait_that_is_asked_for_counts_for_every_kind(kind, status, outcome):
    assert _send(kind, status, **{"Retry-After": "120"}) == outcome
