"""Who submits an email, and as whom it may send."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.contrib.auth.models import User

from mails.access import grants
from mails.files.uploads import Owner
from mails.message import addresses
from mails.models import ApiKey
from mails.states import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """The submitter of an email: an application by its key, a person, or the command line (neither)."""

    source: Source
    api_key: ApiKey | None = None
    user: User | None = None

    @property
    def owner(self) -> str:
        """The owner of its idempotency keys."""
        if self.api_key is not None:
            return f"key:{self.api_key.pk}"
        return f"user:{self.user.pk}" if self.user is not None else "command"

    @property
    def file_owner(self) -> Owner:
        """The owner of its uploaded files."""
        return Owner(api_key=self.api_key, user=self.user)

    @property
    def name(self) -> str:
        """The application's or the person's name."""
        if self.api_key is not None:
            return self.api_key.name
        return self.user.get_username() if self.user is not None else "command line"

    def list_allowed_senders(self) -> list[str]:
        """Return the addresses it may send as; `@example.com` means a whole domain, `*` any address."""
        if self.api_key is not None:
            return list(self.api_key.senders)
        return ["*"] if self.user is None else grants.list_senders(self.user)


def is_sender_allowed(address: str, allowed: Iterable[str]) -> bool:
    """Return True if an allowed sender covers this address; domains compare without case."""
    local, _, domain = address.rpartition("@")
    covering = {"*", f"@{domain.lower()}", f"{local}@{domain.lower()}"}
    return any(addresses.normalize_entry(entry) in covering for entry in allowed)
