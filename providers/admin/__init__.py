"""The operators' door to provider accounts, their breakers, and the sandbox."""

from providers.admin import accounts

__all__ = ["accounts"]
