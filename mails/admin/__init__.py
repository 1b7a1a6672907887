"""The operators' door to mails, keys and people. Mails and events are read here, never edited."""

from mails.admin import api_keys, bulk, events, mails, people

__all__ = ["api_keys", "bulk", "events", "mails", "people"]
