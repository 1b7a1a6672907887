"""SMTP: options and capabilities. `transports.smtp` speaks it."""

from providers.kinds.base import CA, MAX_CONNECTIONS, Option, ProviderKind, Transport

PORT = Option(name="port", label="Port", help="Empty: 587 with STARTTLS, 465 with TLS, 25 without.", most=65535)

SMTP = ProviderKind(
    key="smtp",
    label="SMTP",
    transport=Transport.SMTP,
    options=(
        Option(name="host", label="Host", required=True),
        PORT,
        Option(name="username", label="User name"),
        Option(name="password", label="Password", secret=True),
        Option(name="security", label="Security", default="starttls", choices=("starttls", "tls", "none")),
        MAX_CONNECTIONS,
        Option(
            name="ehlo_name",
            label="EHLO name",
            help="Empty: MERCURY_EHLO_NAME, or this machine's full name.",
            is_extra=True,
        ),
        CA,
    ),
    can=(
        "keeps the Message-ID",
        "sends exactly the bytes that Mercury shows",
        "answers for each recipient",
    ),
    cannot=("report delivery by webhook",),
    most_at_once=32,
)
