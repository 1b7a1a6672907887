"""The accounts that this house has, from the environment and from the database, as plain values for the sending side."""

from collections.abc import Mapping


class AccountError(Exception):
    """Tree: RegistryError > AccountInvalid, AccountFixed."""


class AccountInvalid(AccountError):
    """What was given makes no account; `errors` says for each field what is wrong. Options are `options.<name>`."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(f"{field}: {fault}" for field, fault in errors.items()))
        self.errors = dict(errors)


class AccountChangeNotAllowed(AccountError):
    """The account is not made here, so this cannot be changed here; the text says where it can."""
