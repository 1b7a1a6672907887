"""The largest messages that a kind says it carries, and one recipient more."""

import base64
import email
import email.policy
import json

import pytest
from django.core.mail import EmailAttachment

from mercury.lib.runtime import event_loop
from providers.kinds.brevo import BREVO
from providers.kinds.capabilities import Feature, MessageTraits
from providers.kinds.options import clean_options
from providers.kinds.postmark import POSTMARK
from providers.kinds.resend import RESEND
from providers.kinds.ses import SES
from providers.outcomes import Accepted
from providers.tests.support import messages, pages
from providers.tests.support.scripted_api import ScriptedApi

KINDS = [SES, POSTMARK, RESEND, BREVO]


def _name(kind):
    return kind.key


def _open(kind):
    return kind.open_api(clean_options(kind.key, {option.name: "key" for option in kind.options if option.required}))


def _find_accepted_answer(kind):
    answers = [answer for answer in pages.list_answers(kind) if answer[2].startswith("Accepted")]
    return answers[0][:2]


@pytest.mark.parametrize("kind", KINDS, ids=_name)
def test_one_recipient_more_gets_a_request_of_its_own(kind, settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]
    most = kind.capabilities.max_recipients
    everybody = [f"god-{number}@olimpus.com" for number in range(most + 1)]
    message = messages.build_bare(to=everybody[:10], cc=everybody[10:20], bcc=everybody[20:])

    async def scenario():
        async with ScriptedApi(*_find_accepted_answer(kind)) as api:
            return await api.send(kind, message), api.received

    outcome, received = event_loop.run(scenario())

    assert isinstance(outcome, Accepted)
    assert [(refusal.address, refusal.next_call) for refusal in outcome.refused] == [(everybody[-1], True)]
    assert len(received) == 1


@pytest.mark.parametrize("kind", KINDS, ids=_name)
def test_the_largest_attachment_fits_into_what_the_provider_takes(kind):
    largest = kind.capabilities.max_size
    content = bytes(largest * 57 // 78 - 10_000)
    traits = MessageTraits(size=len(content), features=frozenset({Feature.ATTACHMENTS}))
    message = messages.build_bare()
    message.attachments = [EmailAttachment("bill.pdf", content, "application/pdf")]

    request = _open(kind).build_request(message)

    assert kind.capabilities.explain_missing(traits) == ""
    assert len(request.body) <= (40_000_000 if kind is SES else largest)  # SES gets the whole message in base64


@pytest.mark.parametrize("kind", KINDS, ids=_name)
def test_a_larger_one_goes_to_another_account(kind):
    traits = MessageTraits(size=kind.capabilities.max_size, features=frozenset({Feature.ATTACHMENTS}))

    assert "it carries at most" in kind.capabilities.explain_missing(traits)


@pytest.mark.parametrize("kind", KINDS, ids=_name)
def test_the_longest_subject_goes_out_whole(kind):
    subject = "ö" * 900

    request = _open(kind).build_request(messages.build_bare(subject=subject))

    content = request.body
    if kind is SES:
        content = base64.b64decode(json.loads(content)["Content"]["Raw"]["Data"])
        assert max(map(len, content.split(b"\r\n"))) <= 998
        assert email.message_from_bytes(content, policy=email.policy.default)["Subject"].strip() == subject
    else:
        assert subject.encode() in content
