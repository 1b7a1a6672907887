"""Idempotency keys of calls: a provider that remembers them sends no second copy for a key that it has seen."""

import uuid

from django.core.mail import EmailMessage

from mercury.lib.mail.name_address import extract_address

ATTRIBUTE = "idempotency_scope"  # of an outgoing email: what its key is for, together with its recipients


def make_key(message: EmailMessage) -> str:
    """Return the key of a call with this message, a UUID: the same for the same scope and the same recipients, in any order.

    The scope is the attempt whose request this one repeats, if it repeats one; else its own. So an email that is sent again
    on purpose, or after a refusal, has another key. A message without a scope has its id as scope.
    """
    scope = getattr(message, ATTRIBUTE, "") or message.extra_headers.get("X-Mercury-ID", "")
    addresses = sorted({extract_address(recipient).lower() for recipient in message.recipients()})
    return str(uuid.uuid5(_NAMESPACE, "\n".join([scope, *addresses])))


_NAMESPACE = uuid.UUID("6d4f0b1e-7a53-5c0e-9d0c-2f6a1f0f3b8e")  # any constant: it keeps these ids apart from others
