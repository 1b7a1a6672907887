"""Limits of every kind, at their borders."""

import re

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.base import Transport
from providers.kinds.capabilities import MessageTraits
from providers.kinds.catalog import KINDS
from providers.tests.support import messages
from providers.tests.support.scripted_api import ScriptedApi

MANY = 1000  # recipients: more than the server of the test takes
LIMITED = [kind for kind in KINDS.values() if kind.capabilities.max_size is not None]
SPLITTING = [
    kind
    for kind in KINDS.values()
    if kind.transport is Transport.HTTP
    and kind.capabilities.max_recipients in range(MANY)
    and not kind.capabilities.shows_all_recipients
]


@pytest.mark.parametrize("kind", LIMITED, ids=lambda kind: kind.key)
def test_a_message_is_carried_up_to_the_limit_of_its_size(kind):
    limit = kind.capabilities.max_size

    assert "bytes" not in kind.capabilities.explain_missing(MessageTraits(size=limit))
    assert "bytes" in kind.capabilities.explain_missing(
        MessageTraits(size=limit + 1, features=kind.capabilities.features)
    )


@pytest.mark.parametrize("kind", SPLITTING, ids=lambda kind: kind.key)
def test_no_request_has_more_recipients_than_its_provider_takes(kind, settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    most = kind.capabilities.max_recipients
    message = messages.build_bare(to=[f"god{number}@olimpus.com" for number in range(most + 1)])
    message.body, message.content_subtype = "<p>Χαῖρε, Ἥρα</p>", "html"

    async def scenario():
        async with ScriptedApi(500) as provider:
            await provider.send(kind, message)
            return provider.received[0]

    request = event_loop.run(scenario())

    named = set(re.findall(r"god\d+", request.body.decode() + str(request.form)))
    assert len(named) == most
