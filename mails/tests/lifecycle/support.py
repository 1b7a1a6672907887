"""What the tests of actions share: outcomes, and a dispatcher whose calls are still in progress."""

import json

from mails.actions import apply
from mails.dispatch.dispatcher import Dispatcher
from mails.dispatch.steps.transitions import Result
from mails.lifecycle.action_requests import AccountChoice, ActionRequest
from providers.outcomes import Accepted, FailureClass, Refused, Unknown

ACCEPTED = Accepted(provider_message_id="id-1", status_code=250)
REFUSED = Refused(
    failure_class=FailureClass.PROVIDER, reason_code="http-503", reason="Come back later.", status_code=503
)
NOT_TRIED = AccountChoice(not_tried=True)
UNKNOWN = Unknown(reason_code="read-timeout", reason="No answer came.")


def request_action(mail, action, by="hermes", note="", **more):
    return apply.apply_action(mail.pk, ActionRequest(action=action, by=by, note=note, **more))


class CallsInProgress:
    """A dispatcher that has handed its mails to providers, which have not answered yet."""

    def __init__(self):
        self.dispatch = Dispatcher(["text"], concurrency=8)
        self.calls = self.dispatch.claimer.claim(8).calls

    def answer(self, outcome):
        results = [Result(call=call, outcome=outcome, latency=0.1) for call in self.calls]
        self.calls = self.dispatch.recorder.record(results).calls


def read_last_blob(mail):
    return json.loads(mail.events.last().blob or "{}")


def find_first_account(mail):
    return mail.attempts.order_by("number").first().account
