"""The signed tokens of download links."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mails.files import link_tokens
from mails.files.link_tokens import BaseUrlMissing

CROWN = uuid.UUID("019ad0a0-0000-7000-8000-000000000001")
HARP = uuid.UUID("019ad0a0-0000-7000-8000-000000000002")


def test_a_token_names_its_link_and_is_always_the_same() -> None:
    token = link_tokens.make_token(CROWN)
    assert token == link_tokens.make_token(CROWN)
    assert link_tokens.read_token(token) == CROWN
    assert len(token) < 80


def test_a_changed_token_is_none() -> None:
    token = link_tokens.make_token(CROWN)
    for place in range(len(token)):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        assert link_tokens.read_token(changed) is None
    assert link_tokens.read_token(token[:-1]) is None
    assert link_tokens.read_token(token + "A") is None


def test_the_signature_of_another_link_is_none() -> None:
    name, _ = link_tokens.make_token(CROWN).split(".")
    _, signature = link_tokens.make_token(HARP).split(".")
    assert link_tokens.read_token(f"{name}.{signature}") is None


@given(st.text())
def test_any_other_text_is_none(text: str) -> None:
    assert link_tokens.read_token(text) is None
    assert link_tokens.read_ticket(CROWN, text) is None


def test_a_token_outlives_its_key_as_a_fallback(settings) -> None:
    settings.SECRET_KEY = "the first key"
    token = link_tokens.make_token(CROWN)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the second key", ["the first key"]
    assert link_tokens.read_token(token) == CROWN
    settings.SECRET_KEY_FALLBACKS = []
    assert link_tokens.read_token(token) is None


def test_a_ticket_is_for_one_download_of_one_link() -> None:
    ticket = link_tokens.make_ticket(CROWN)
    assert link_tokens.read_ticket(CROWN, ticket) is not None
    assert link_tokens.read_ticket(CROWN, ticket) == link_tokens.read_ticket(CROWN, ticket)
    assert link_tokens.read_ticket(CROWN, link_tokens.make_ticket(CROWN)) != link_tokens.read_ticket(CROWN, ticket)
    assert link_tokens.read_ticket(HARP, ticket) is None
    assert link_tokens.read_token(ticket) is None


def test_a_ticket_ends_after_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    ticket = link_tokens.make_ticket(CROWN)
    monkeypatch.setattr("time.time", lambda: 1_000_000.0 + link_tokens.TICKET_SECONDS - 1)
    assert link_tokens.read_ticket(CROWN, ticket) is not None
    monkeypatch.setattr("time.time", lambda: 1_000_000.0 + link_tokens.TICKET_SECONDS + 1)
    assert link_tokens.read_ticket(CROWN, ticket) is None


def test_a_link_without_a_base_url_names_the_setting(settings) -> None:
    settings.MERCURY_BASE_URL = ""
    with pytest.raises(BaseUrlMissing, match="MERCURY_BASE_URL"):
        link_tokens.make_url(CROWN)
