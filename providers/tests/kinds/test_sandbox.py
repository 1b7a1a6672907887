"""The sandbox as a kind. What it does with an email is tested in `tests/sandbox`."""

import pytest

from providers.kinds.base import OptionsInvalid
from providers.kinds.options import clean_options
from providers.kinds.sandbox import SANDBOX


def test_it_has_no_options():
    assert clean_options("sandbox", {}) == {}
    with pytest.raises(OptionsInvalid, match=r"Sandbox has no such option\. Known: none"):
        clean_options("sandbox", {"api_key": "key"})


def test_it_says_that_it_delivers_nothing():
    assert "deliver email" in SANDBOX.capabilities.cannot


def test_it_has_no_http_api():
    with pytest.raises(TypeError, match="Sandbox has no HTTP API"):
        SANDBOX.open_api({})
