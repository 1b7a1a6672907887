"""Words of error documents, whatever a provider or a proxy in front of it sends."""

import pytest

from providers.kinds.http_api import HttpAnswer
from providers.kinds.mailgun import MailgunApi
from providers.kinds.sendgrid import SendGridApi

SENDGRID = SendGridApi({"api_key": "key", "api_url": "https://olympus.test/v3/"})
MAILGUN = MailgunApi({"api_key": "key", "api_url": "https://olympus.test/v3", "sender_domain": None})


def _answer(body):
    return HttpAnswer(status_code=400, headers={}, content=body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errors": [{"message": "required", "field": "from"}, {"message": "also"}]}', "from: required; also"),
        (b'{"errors": [{"message": ["odd"], "field": 3}, "odd"]}', ""),
        (b'{"message": "of another provider"}', ""),
    ],
)
def test_sendgrids_errors_are_read(body, words):
    assert SENDGRID.read_error(_answer(body)) == words


def test_mailguns_message_is_read():
    assert MAILGUN.read_error(_answer(b'{"message": "Domain not found"}')) == "Domain not found"


@pytest.mark.parametrize("api", [SENDGRID, MAILGUN])
@pytest.mark.parametrize(
    "body", [b'{"errors": "odd", "message": 3}', b"[" * 30_000, b"[1]", b"\xff\xfe", b"", b"null", b'"odd"']
)
def test_json_of_any_other_shape_has_no_words_and_names_nobody(api, body):
    assert api.read_error(_answer(body)) == ""
    assert not api.find_rejected(_answer(body), ["hera@olimpus.com"]).reasons
