"""The browser of the page tests."""

from mails.tests.web.browser import chromium, visitor

__all__ = ["chromium", "visitor"]
