"""One recipient that an API finds fault with costs the others nothing; one person gets one copy."""

from dataclasses import replace

import pytest

from mercury.lib.runtime import event_loop
from providers.kinds.http_api import HttpApi
from providers.kinds.rejected_recipients import NONE_REJECTED, RejectedRecipients, find_named
from providers.kinds.sendgrid import SENDGRID
from providers.outcomes import Accepted, FailureClass, Refused, Unknown
from providers.tests.support import accounts
from providers.tests.support.local_provider import LocalProvider
from providers.transports import http
from providers.transports.http_recipients import group_spellings, send_to_all
from providers.transports.mime import list_addresses, narrow

HERA, IRIS, ARES, BAD = "hera@olimpus.com", "iris@olimpus.com", "ares@olimpus.com", "bad-@olimpus.com"
ACCEPTED = Accepted(provider_message_id="1", status_code=202)
WORDS = "'to' parameter is not a valid address. please check documentation"
REFUSED = Refused(failure_class=FailureClass.MESSAGE, reason_code="http-400", reason=WORDS, status_code=400)


@pytest.fixture(autouse=True)
def _local_hosts(settings):
    settings.MERCURY_PRIVATE_HOSTS_ALLOWED = ["127.0.0.1"]


def sent(build, to, **changes):
    """The outcome of a send to these, and what the provider took and was asked."""

    async def scenario():
        async with LocalProvider(**changes) as provider:
            outcome = await accounts.send(build(provider), accounts.mail(to=to))
            return (
                outcome,
                [address.strip() for mail in provider.received for address in _split(mail["to"])],
                provider.calls,
            )

    return event_loop.run(scenario())


def _split(addresses):
    return [address for text in addresses for address in text.split(",")]


def describe(outcome):
    return {
        recipient.address: "for good" if recipient.permanent else "further call" if recipient.next_call else "for now"
        for recipient in outcome.refused
    }


@pytest.mark.parametrize("to", [[HERA, BAD], [BAD, HERA], [HERA, BAD, IRIS], [BAD, HERA, "worse-@olimpus.com"]])
def test_sendgrid_names_the_bad_addresses_and_the_others_get_theirs_in_the_same_attempt(to):
    outcome, received, calls = sent(accounts.sendgrid, to)

    assert isinstance(outcome, Accepted)
    assert describe(outcome) == dict.fromkeys((address for address in to if "-@" in address), "for good")
    assert outcome.refused[0].reason == "Does not contain a valid address."
    assert received == [address for address in to if "-@" not in address]
    assert calls == 2


def test_mailgun_names_nobody_so_the_recipients_are_halved_until_it_is_found():
    outcome, received, calls = sent(accounts.mailgun, [BAD, HERA, IRIS])

    assert isinstance(outcome, Accepted)
    assert describe(outcome) == {BAD: "for good"}
    assert (sorted(received), calls) == ([HERA, IRIS], 3)


def test_whom_a_halved_call_left_out_goes_into_a_further_call():
    outcome, received, _ = sent(accounts.mailgun, [HERA, IRIS, "zeus@olimpus.com", BAD])

    assert received == [HERA, IRIS]
    assert describe(outcome) == {"zeus@olimpus.com": "further call", BAD: "further call"}


@pytest.mark.parametrize("build", [accounts.sendgrid, accounts.mailgun])
@pytest.mark.parametrize("to", [[BAD], [BAD, "worse-@olimpus.com"]])
def test_if_all_are_bad_the_email_is_refused_for_good(build, to):
    outcome, received, _ = sent(build, to)

    assert (outcome.failure_class, received) == (FailureClass.MESSAGE, [])
    assert describe(outcome) == dict.fromkeys(to, "for good")


@pytest.mark.parametrize("build", [accounts.sendgrid, accounts.mailgun])
def test_spellings_of_one_address_get_one_copy(build):
    outcome, received, calls = sent(build, ["Hera@olimpus.com", HERA, IRIS, "hera@OLIMPUS.com"])

    assert outcome.refused == ()
    assert (received, calls) == (["Hera@olimpus.com", IRIS], 1)


def test_all_spellings_share_the_fate_of_their_copy():
    outcome, _, _ = sent(accounts.sendgrid, [HERA, "Bad-@olimpus.com", BAD])

    assert describe(outcome) == {"Bad-@olimpus.com": "for good", BAD: "for good"}


@pytest.mark.parametrize("build", [accounts.sendgrid, accounts.mailgun])
def test_a_refusal_that_is_not_about_recipients_is_made_once(build):
    outcome, _, calls = sent(build, [HERA, IRIS], answer="400")

    assert (outcome.failure_class, calls) == (FailureClass.MESSAGE, 1)


def test_no_call_is_made_without_time_for_it():
    async def refuse(addresses):
        return REFUSED, RejectedRecipients(reasons={}, has_unnamed=True)

    outcome = event_loop.run(send_to_all([HERA, IRIS], refuse, time_left=lambda: 0.0))

    assert (outcome.failure_class, outcome.reason) == (FailureClass.RECIPIENT, WORDS)


def test_no_call_is_to_more_recipients_than_the_provider_takes():
    asked = []

    async def send(addresses):
        asked.append(list(addresses))
        rejected = RejectedRecipients(reasons={BAD: "no"} if BAD in addresses else {})
        return (REFUSED if rejected.reasons else ACCEPTED), rejected

    outcome = event_loop.run(send_to_all([BAD, HERA, IRIS], send, time_left=lambda: 1.0, most=1))

    assert asked == [[BAD], [HERA]]
    assert describe(outcome) == {BAD: "for good", IRIS: "further call"}


def test_an_unknown_outcome_says_whom_its_call_left_out():
    answers = iter(
        [
            (REFUSED, RejectedRecipients(reasons={BAD: "no"})),
            (Unknown(reason_code="read-timeout", reason="No answer."), RejectedRecipients(reasons={})),
        ]
    )

    async def send(addresses):
        return next(answers)

    outcome = event_loop.run(send_to_all([HERA, BAD], send, time_left=lambda: 1.0))

    assert outcome.reason == f"No answer. This request was made without {BAD}."


def test_an_outcome_says_whether_it_is_of_the_first_request_of_its_attempt():
    first, _ = send_once([HERA, BAD], ACCEPTED, {})
    second, _ = send_once([HERA, BAD], REFUSED, {BAD: "no"})

    assert (first.is_first_request, second.is_first_request) == (True, False)


def test_an_address_is_named_only_as_a_whole():
    assert find_named("bad: xhera@olimpus.com, hera@olimpus.com.au", [HERA]) == []
    assert find_named("bad: <Hera@olimpus.com>.", [HERA]) == [HERA]


def test_one_copy_each():
    assert group_spellings(["a@x.com", "A@x.com", "b@x.com"]) == {
        "a@x.com": ["a@x.com", "A@x.com"],
        "b@x.com": ["b@x.com"],
    }


def calls_to(message, refused=()):
    """Recipients of each call for this email, where the provider refuses some of them without a name."""
    calls = []

    async def send(addresses):
        part = narrow(message, addresses)
        calls.append((part.to, part.cc, part.bcc))
        if set(addresses) & set(refused):
            return REFUSED, RejectedRecipients(reasons={}, has_unnamed=True)
        return ACCEPTED, RejectedRecipients(reasons={})

    outcome = event_loop.run(
        send_to_all(
            list_addresses(message.recipients()), send, time_left=lambda: 1.0, blind=list_addresses(message.bcc)
        )
    )
    return calls, outcome


def test_one_call_goes_to_all_kinds_of_recipients():
    named = f"Iris <{IRIS}>"

    calls, outcome = calls_to(accounts.mail(to=[HERA], cc=[named], bcc=[ARES]))

    assert calls == [([HERA], [named], [ARES])]
    assert outcome == ACCEPTED


def test_copies_without_another_recipient_go_to_them():
    calls, _ = calls_to(accounts.mail(to=[], cc=[HERA, IRIS], bcc=[ARES]))

    assert calls == [([HERA, IRIS], [], [ARES])]


def test_blind_copies_without_another_recipient_do_not_see_each_other():
    calls, outcome = calls_to(accounts.mail(to=[], bcc=[HERA, ARES, IRIS]))

    assert calls == [([HERA], [], [])]
    assert describe(outcome) == {ARES: "further call", IRIS: "further call"}


def test_blind_copies_do_not_see_each_other_after_the_other_recipient_was_refused():
    calls, outcome = calls_to(accounts.mail(to=[BAD], bcc=[ARES, IRIS]), refused=[BAD])

    assert calls == [([BAD], [], [ARES, IRIS]), ([BAD], [], []), ([ARES], [], [])]
    assert describe(outcome) == {BAD: "for good", IRIS: "further call"}


def send_once(addresses, outcome, rejected, *, most=None):
    """The outcome of a send whose first call is answered like this, and the recipients of each call."""
    asked = []

    async def send(part):
        asked.append(list(part))
        return (outcome, RejectedRecipients(reasons=rejected)) if len(asked) == 1 else (ACCEPTED, NONE_REJECTED)

    return event_loop.run(send_to_all(addresses, send, time_left=lambda: 1.0, most=most)), asked


def test_whom_an_accepted_answer_rejects_is_refused_and_the_others_are_accepted():
    outcome, asked = send_once([HERA, "Bad-@olimpus.com", BAD], ACCEPTED, {"Bad-@olimpus.com": "suppressed"})

    assert isinstance(outcome, Accepted)
    assert describe(outcome) == {"Bad-@olimpus.com": "for good", BAD: "for good"}
    assert outcome.refused[0].reason == "suppressed"
    assert asked == [[HERA, "Bad-@olimpus.com"]]


def test_an_accepted_answer_that_rejects_all_is_a_refusal():
    outcome, asked = send_once([HERA, BAD], ACCEPTED, {HERA: "suppressed", BAD: "invalid"})

    assert isinstance(outcome, Refused)
    assert (outcome.failure_class, outcome.reason_code) == (FailureClass.MESSAGE, "all-rejected")
    assert describe(outcome) == {HERA: "for good", BAD: "for good"}
    assert len(asked) == 1


def test_the_others_get_theirs_after_a_call_whose_recipients_are_all_rejected():
    outcome, asked = send_once([BAD, HERA], ACCEPTED, {BAD: "invalid"}, most=1)

    assert isinstance(outcome, Accepted)
    assert describe(outcome) == {BAD: "for good"}
    assert asked == [[BAD], [HERA]]


class RejectingApi(HttpApi):
    """Accepts everything, and rejects an address that it spells in capitals, and one that it was not asked for."""

    accepted_status = 202

    def __init__(self, options):
        self._api = SENDGRID.open_api(options)

    def build_request(self, message):
        return self._api.build_request(message)

    def read_message_id(self, answer):
        return "1"

    def read_error(self, answer):
        return ""

    def find_rejected(self, answer, recipients):
        return RejectedRecipients(reasons={IRIS.upper(): "suppressed", "nobody@olimpus.com": "unknown"})


def test_a_rejected_address_is_known_in_any_spelling(monkeypatch):
    monkeypatch.setattr(http, "KINDS", {"sendgrid": replace(SENDGRID, api=RejectingApi)})

    outcome, _, calls = sent(accounts.sendgrid, [HERA, IRIS])

    assert isinstance(outcome, Accepted)
    assert describe(outcome) == {IRIS: "for good"}
    assert calls == 1
