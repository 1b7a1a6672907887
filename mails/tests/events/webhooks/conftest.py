"""Receivers are on this machine, and back-offs last as long as they can, so that no test ends within one."""

from typing import Any

import pytest


@pytest.fixture(autouse=True)
def allow_this_machine(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    monkeypatch.setattr("mails.events.webhooks.backoff.random.uniform", lambda _, longest: longest)
