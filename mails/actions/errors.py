"""Why an action is refused.

ActionError
├── MailNotFound
├── AccountNotUsable
├── TimesNotAllowed
├── ChangesRefused
└── ActionNotAllowed
    └── NoUntriedAccount
"""

import uuid
from collections.abc import Collection, Sequence

from mails.actions.wording import PAST, describe_state, join_names
from mails.lifecycle import action_execution
from mails.models import Mail
from mails.schedule import TimeError
from mails.states import Action


class ActionError(Exception):
    """The action cannot be carried out; the text says why and what to do."""


class MailNotFound(ActionError):
    """The email no longer exists."""

    def __init__(self, mail_id: uuid.UUID) -> None:
        super().__init__(f"The email {mail_id} no longer exists: retention deleted it.")


class AccountNotUsable(ActionError):
    """The account that emails are to go through does not exist or accepts no email."""

    def __init__(self, account: str, usable: Collection[str]) -> None:
        names = ", ".join(sorted(usable)) or "none"
        super().__init__(f"Account '{account}' does not exist, or accepts no email now. Usable accounts: {names}.")
        self.account = account


class TimesNotAllowed(ActionError):
    """The email cannot be sent, or expire, at these times. `errors`: of each field."""

    def __init__(self, errors: Sequence[TimeError]) -> None:
        super().__init__(" ".join(f"{error.field}: {error.detail}" for error in errors))
        self.errors = errors


class ChangesRefused(ActionError):
    """The recipients cannot be changed so. `errors`: by field; `status` and `code`: of an HTTP answer.

    `retry_after`: seconds after which the changes may be accepted, where time alone helps.
    """

    def __init__(
        self, status: int, code: str, errors: Sequence[tuple[str, str]], *, retry_after: int | None = None
    ) -> None:
        super().__init__(" ".join(detail for _, detail in errors))
        self.status = status
        self.code = code
        self.errors = tuple(errors)
        self.retry_after = retry_after


class ActionNotAllowed(ActionError):
    """The state of the email does not allow the action."""

    def __init__(self, mail: Mail, action: Action, allowed: tuple[Action, ...], *, is_changing: bool = False) -> None:
        labels = ", ".join(other.label.lower() for other in allowed)
        remedy = "Its state is changing; try again." if is_changing else f"Possible actions now: {labels or 'none'}."
        super().__init__(f"The email is {describe_state(mail)}, so it cannot be {PAST[action]}. {remedy}")
        self.mail = mail
        self.allowed = allowed


class NoUntriedAccount(ActionNotAllowed):
    """The email could be reprocessed, but not through an account that it was not tried with."""

    def __init__(self, mail: Mail, action: Action, allowed: tuple[Action, ...]) -> None:
        super().__init__(mail, action, allowed)
        self.tried = sorted(action_execution.list_tried_accounts([mail.pk])[mail.pk])

    def __str__(self) -> str:
        tried = join_names(self.tried) or "no account, and none is usable"
        return (
            f"No untried account is left: the email was already tried with {tried}. "
            "Reprocess it through all accounts, or through one."
        )
