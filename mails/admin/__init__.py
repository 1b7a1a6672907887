"""Admin pages for emails, API keys and users. Emails and events are shown here, never edited."""

from mails.admin import api_keys, bulk, events, files, links, mails, people, queues, routing, suppressions

__all__ = ["api_keys", "bulk", "events", "files", "links", "mails", "people", "queues", "routing", "suppressions"]
