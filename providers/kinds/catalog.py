"""All kinds of provider, by key: the one list that a new kind is added to."""

from collections.abc import Mapping
from types import MappingProxyType

from providers.kinds.base import ProviderKind
from providers.kinds.brevo import BREVO
from providers.kinds.mailersend import MAILERSEND
from providers.kinds.mailgun import MAILGUN
from providers.kinds.mailjet import MAILJET
from providers.kinds.mailtrap import MAILTRAP
from providers.kinds.mandrill import MANDRILL
from providers.kinds.postal import POSTAL
from providers.kinds.postmark import POSTMARK
from providers.kinds.resend import RESEND
from providers.kinds.sandbox import SANDBOX
from providers.kinds.scaleway import SCALEWAY
from providers.kinds.sendgrid import SENDGRID
from providers.kinds.ses import SES
from providers.kinds.smtp import SMTP
from providers.kinds.sparkpost import SPARKPOST
from providers.kinds.unisender_go import UNISENDER_GO

_ALL = (
    SENDGRID,
    MAILGUN,
    SES,
    SPARKPOST,
    POSTMARK,
    RESEND,
    MAILJET,
    MAILERSEND,
    MANDRILL,
    BREVO,
    SCALEWAY,
    UNISENDER_GO,
    MAILTRAP,
    POSTAL,
    SMTP,
    SANDBOX,
)
KINDS: Mapping[str, ProviderKind] = MappingProxyType({kind.key: kind for kind in _ALL})
KEEP_EMAILS = frozenset(key for key, kind in KINDS.items() if kind.capabilities.keeps_emails)
SIMULATE_FAILURES = frozenset(key for key, kind in KINDS.items() if kind.capabilities.simulates_failures)


def delivers(key: str) -> bool:
    """Return False for a kind that sends nothing to anybody; True for one that this version of Mercury does not know."""
    kind = KINDS.get(key)
    return kind is None or kind.capabilities.delivers
