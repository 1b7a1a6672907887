"""Admin pages of provider accounts, their breakers, and the sandbox."""

from providers.admin import accounts, history

__all__ = ["accounts", "history"]
