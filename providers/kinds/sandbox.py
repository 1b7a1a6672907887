"""Sandbox: keeps email instead of delivering it. `transports.maildir` does."""

from collections.abc import Mapping
from typing import Any

from providers.kinds.base import AccountUrl, ProviderKind, Transport
from providers.kinds.capabilities import IN_MIME, Capabilities, Feature


def _read_url(url: AccountUrl) -> Mapping[str, Any]:
    return {}


SANDBOX = ProviderKind(
    key="sandbox",
    label="Sandbox",
    transport=Transport.SANDBOX,
    capabilities=Capabilities(
        features=IN_MIME | {Feature.SMTPUTF8},
        keeps_message_id=True,
        sends_exact_bytes=True,
        shows_all_recipients=True,
        answers_per_recipient=False,
        reports_delivery=False,
        delivers=False,
        keeps_emails=True,
        simulates_failures=True,
    ),
    options=(),
    schemes={"sandbox": _read_url},
    counts_recipients=False,
)
