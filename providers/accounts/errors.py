"""Errors of accounts.

AccountError
├── AccountInvalid            the values make no account
└── AccountChangeNotAllowed   this account cannot be changed in this way
"""

from collections.abc import Mapping


class AccountError(Exception):
    """An account cannot be made or changed as asked."""


class AccountInvalid(AccountError):
    """The values make no account. `errors` says for each field what is wrong; an option is `options.<name>`."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{field}: {problem}" for field, problem in errors.items()))
        self.errors = dict(errors)


class AccountChangeNotAllowed(AccountError):
    """This account cannot be changed here. The text says why, and where it can."""
