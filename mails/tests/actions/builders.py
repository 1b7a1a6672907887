"""Emails and bulk actions for the tests."""

from django.utils import timezone

from mails.actions import bulk
from mails.lifecycle.action_requests import EVERY_ACCOUNT, ActionRequest
from mails.models import Mail
from mails.reporting.search import MailListFilter
from mails.states import Action, Status
from mails.tests.builders import a_mail, dispatch, reloaded
from providers.outcomes import FailureClass


def create_discarded(**changes):
    """Create a discarded email; the failure is the provider's unless `changes` say otherwise."""
    mail = a_mail()
    given_up = {
        "status": Status.DISCARDED,
        "reason_code": "http-503",
        "failure_class": FailureClass.PROVIDER,
        "next_attempt_at": None,
    }
    Mail.objects.filter(pk=mail.pk).update(**given_up | changes)
    return reloaded(mail)


def create_bulk_action(action=Action.REPROCESS, selected=None, account_choice=EVERY_ACCOUNT, **more):
    order = ActionRequest(action=action, by="user:hermes", note="fixed", account_choice=account_choice)
    return bulk.create_bulk_action(
        order, MailListFilter() if selected is None else selected, at=timezone.now(), description="all emails", **more
    )


def process(order):
    return bulk.process_batches(order, seconds=60)


def create_unknown(account, **changes):
    """Create an email that `account` may have sent, and that must not be sent twice."""
    account.lose_answer()
    mail = a_mail(delivery_guarantee="at-most-once", **changes)
    dispatch()
    return reloaded(mail)
