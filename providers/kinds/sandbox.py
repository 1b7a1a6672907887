"""Sandbox: capabilities. `transports.maildir` keeps its email."""

from providers.kinds.base import ProviderKind, Transport

SANDBOX = ProviderKind(
    key="sandbox",
    label="Sandbox",
    transport=Transport.SANDBOX,
    options=(),
    can=(
        "keeps every email for you to read",
        "simulates slow, refused, missing, alternating and lost answers",
    ),
    cannot=("deliver email",),
)
