"""Test emails of the admin: send one through each account, and say the results in words."""

from typing import assert_never

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest

from mercury.lib.audit import log as audit
from providers.accounts import delivery_test
from providers.accounts.config import AccountConfig
from providers.outcomes import Accepted, NotAttempted, Outcome, Refused, Unknown


def run_tests(
    request: HttpRequest, configs: list[AccountConfig], *, sender: str, recipient: str
) -> tuple[list[dict[str, str]], list[str]]:
    """Send the tests; return the result of each, or the error that prevented them."""
    try:
        outcomes = delivery_test.run(
            configs, sender=sender, recipient=recipient, by=audit.get_person(request), person=request.user
        )
    except delivery_test.DeliveryTestNotAllowed as error:
        return [], [str(error)]
    return [_describe_outcome(config.name, outcome) for config, outcome in zip(configs, outcomes, strict=True)], []


def is_address(text: str) -> bool:
    """Return True if the text is an email address."""
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def describe_invalid_address(text: str) -> str:
    """Return the error of an invalid address."""
    return f"“{text}” is not a valid email address. Example: hera@olimpus.com."


def _describe_outcome(account: str, outcome: Outcome) -> dict[str, str]:
    """Return the result of a test as a badge and a sentence."""
    match outcome:
        case Accepted():
            message_id = f" Message id: {outcome.provider_message_id}." if outcome.provider_message_id else ""
            words = f"{account} accepted it ({outcome.status_code}).{message_id}"
            return {"tone": "ok", "icon": "tick", "word": "Accepted", "words": words}
        case Refused() | NotAttempted():
            word = "Refused" if isinstance(outcome, Refused) else "Not sent"
            words = f"{account}: {outcome.failure_class.label}, {outcome.reason_code}: {outcome.reason}"
            return {"tone": "bad", "icon": "cross", "word": word, "words": words}
        case Unknown():
            words = f"{account} did not confirm; it may have been sent. {outcome.reason_code}: {outcome.reason}"
            return {"tone": "unknown", "icon": "question", "word": "Outcome unknown", "words": words}
        case never:
            assert_never(never)
