"""Fixtures of the page tests: a browser, and an operator who is signed in."""

import pytest
from django.test import Client

from mails.tests.people import browser_of, hermes
from mails.tests.web.browser import chromium, visitor

__all__ = ["chromium", "operator", "visitor"]


@pytest.fixture
def operator(db: None) -> Client:
    """Return a test client that is signed in as a superuser."""
    return browser_of(hermes())
