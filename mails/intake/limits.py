"""The limits of the API key that a list of emails counts towards: what they took, and the receipts of those that do not fit."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mails.access import key_limits, rate_limits
from mails.access.key_limits import LimitName, LimitStatus
from mails.intake.receipts import Receipt, RefusalReason, Refused, Stored
from mails.lifecycle.values import NewMail
from mails.models import ApiKey
from mercury.lib import durations

_UNITS = {LimitName.EMAILS: ("email", "in a minute"), LimitName.RECIPIENTS: ("recipient", "a day (UTC)")}
_BY_LIMITS = (RefusalReason.LIMIT_REACHED, RefusalReason.ABOVE_LIMIT)
_REMEDY = "If the application needs more, an operator can raise the limit."


def find_limited(new: Sequence[NewMail]) -> ApiKey | None:
    """Return the key whose limits these emails of one client count towards; None if none of them counts."""
    return next((draft.limited_by for draft in new if draft.limited_by is not None), None)


def record_refused(key: ApiKey | None, receipts: Mapping[uuid.UUID, Receipt]) -> None:
    """Count emails that limits refused among those that the rate does."""
    if key is None or not key.has_limits:
        return
    count = sum(isinstance(receipt, Refused) and receipt.reason in _BY_LIMITS for receipt in receipts.values())
    if count:
        rate_limits.record_refused(key, LimitName.EMAILS.seconds, mails=count)


class Counting:
    """Counts emails in the transaction that stores them, and makes the receipts of those that it refuses."""

    def __init__(self, key: ApiKey) -> None:
        self._key = key
        self._statuses: tuple[LimitStatus, ...] = ()
        self.refused: dict[uuid.UUID, Receipt] = {}

    def refuse(self, new: Sequence[NewMail]) -> Mapping[uuid.UUID, Receipt]:
        """Count these emails; return the receipts of those that do not fit, by their ids. A rejected email does not count."""
        counted = [draft for draft in new if draft.limited_by is not None]
        if counted:
            taken = key_limits.take(self._key, [len(draft.message.recipients) for draft in counted])
            self._statuses = taken.statuses
            self.refused = {
                draft.mail.id: build_refusal(name, taken.statuses, len(draft.message.recipients))
                for draft, name in zip(counted, taken.exceeded, strict=True)
                if name is not None
            }
        return self.refused

    def add_statuses(self, receipts: Mapping[uuid.UUID, Receipt]) -> dict[uuid.UUID, Receipt]:
        """Return the receipts, those of stored emails with what is left of the limits."""
        return {
            mail_id: replace(receipt, limits=self._statuses) if isinstance(receipt, Stored) else receipt
            for mail_id, receipt in receipts.items()
        }


def build_refusal(name: LimitName, statuses: tuple[LimitStatus, ...], recipients: int) -> Refused:
    """Return the refusal of an email with these recipients, because of this limit."""
    status = next(status for status in statuses if status.name == name)
    noun, window = _UNITS[name]
    allowed = f"{status.quota:,} {noun}{'' if status.quota == 1 else 's'} {window}"
    if name == LimitName.RECIPIENTS and recipients > status.quota:
        detail = (
            f"This email has {recipients:,} recipients, and this key may use {allowed}, so it never fits. {_REMEDY}"
        )
        return Refused(reason=RefusalReason.ABOVE_LIMIT, detail=detail, limits=statuses)
    verb = "send" if name == LimitName.EMAILS else "use"
    wait = durations.format_duration(status.reset_after)
    detail = (
        f"This key may {verb} {allowed}, and {status.remaining:,} {'is' if status.remaining == 1 else 'are'} left; "
        f"this email was not stored. Send it again in {wait}. {_REMEDY}"
    )
    return Refused(reason=RefusalReason.LIMIT_REACHED, detail=detail, limits=statuses, retry_after=status.reset_after)
