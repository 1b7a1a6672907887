"""The API of an HTTP provider for one account: all that `transports.http` asks of a kind.

A kind builds requests and reads answers. It opens no connection, and decides nothing that is the same for all providers.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from django.core.mail import EmailMessage

from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients
from providers.outcomes import QuotaPeriod
from providers.reply_words import Topic


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """One request for one email, as it is sent."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


@dataclass(slots=True, kw_only=True)
class HttpAnswer:
    """A provider's answer: of the body at most as much as the transport reads."""

    status_code: int
    headers: Mapping[str, str]  # upper and lower case make no difference
    content: bytes = b""
    is_whole: bool = True  # False: cut, broken off, impossible to decompress, or given before the request was written

    @property
    def text(self) -> str:
        """Return the body as text; bytes that are not UTF-8 are replaced."""
        return self.content.decode("utf-8", "replace")

    def parse_json(self) -> Any:
        """Return the body as JSON, None if it is not JSON or nested too deep."""
        if not self.content:
            return None
        try:
            return json.loads(self.content)
        except (ValueError, RecursionError):
            return None


class HttpApi(ABC):
    """One account's API.

    `accepted_status`: the one status that the provider documents for an accepted email. `wait_header`: the name of the
    header in which its 429 says how many seconds to wait, if it is none that others use.
    """

    accepted_status: ClassVar[int]
    wait_header: ClassVar[str] = "Retry-After"

    @abstractmethod
    def build_request(self, message: EmailMessage) -> HttpRequest:
        """Return the request that sends this email. Raises ValueError or TypeError if the provider cannot carry it."""

    @abstractmethod
    def read_message_id(self, answer: HttpAnswer) -> str | None:
        """Return the provider's id of the email from an answer with the accepted status, empty if it gives none.

        None means: the body is not as documented, so it may not be the provider who answered.
        """

    @abstractmethod
    def read_error(self, answer: HttpAnswer) -> str:
        """Return the words of the provider's own error document; empty if the body is none."""

    def read_status(self, answer: HttpAnswer) -> int:
        """Return the status that the answer means: another than its own, if the error document says so and surely.

        Some providers answer 200 or 500 whatever is wrong. Another status makes an unknown outcome a refusal, so it needs
        a code that is documented for requests that were not carried out.
        """
        return answer.status_code

    def read_topic(self, answer: HttpAnswer) -> Topic | None:
        """Return what the provider's own error code says that an error is about; None: its words have to tell."""
        return None

    def read_quota_period(self, answer: HttpAnswer) -> QuotaPeriod | None:
        """Return the period of a quota that the provider's own error code says is used up; None: its words have to tell."""
        return None

    def find_rejected(self, answer: HttpAnswer, recipients: Sequence[str]) -> RejectedRecipients:
        """Return the recipients that get nothing, of a refusal or of an accepted email; by default none.

        A refusal that is about none of them is about the whole email, and one that is about some is made again without
        them. An accepted email is accepted for all others; if it is rejected for all, it is refused.
        """
        return NONE_REJECTED
