"""Answers of any shape, whatever a provider or a proxy in front of it sends, for every HTTP kind."""

import pytest

from providers.kinds.base import Transport
from providers.kinds.catalog import KINDS
from providers.kinds.http_api import HttpAnswer
from providers.kinds.options import clean_options

HTTP = [kind for kind in KINDS.values() if kind.transport is Transport.HTTP]
ODD = [b'{"errors": "odd", "message": 3}', b"[" * 30_000, b"[1]", b"\xff\xfe", b"null", b'"odd"', b"<html>", b"{}"]


@pytest.mark.parametrize("kind", HTTP, ids=lambda kind: kind.key)
@pytest.mark.parametrize("body", ODD, ids=range(len(ODD)))
def test_an_odd_body_accepts_nothing_has_no_words_and_names_nobody(kind, body):
    options = {option.name: "key" for option in kind.options if option.required}
    api = kind.open_api(clean_options(kind.key, {**options, "api_url": "https://api.olimpus.com/"}))
    answer = HttpAnswer(status_code=400, headers={}, content=body)

    assert api.read_message_id(answer) is None
    assert api.read_error(answer) == ""
    assert not api.find_rejected(answer, ["hera@olimpus.com"]).reasons
