"""Why an email was not sent, and what its sender can do."""

import pytest

from mails.intake.client import Client
from mails.models import Mail, Recipient
from mails.states import RecipientState, Source, Status
from mails.tests.builders import HERA, IRIS, a_mail, a_rejected_mail, dispatch, reloaded
from mails.tests.commandline import run
from mails.tests.people import browser_of, zeus
from mails.timeline.advice import advise
from mails.timeline.story import read_story
from mercury.lib.database import database_clock

pytestmark = pytest.mark.django_db(transaction=True)


def advice_for(mail):
    return read_story(reloaded(mail), database_clock.now()).advice


def test_an_email_that_the_provider_refused_says_its_answer_and_offers_a_corrected_copy(olympus):
    olympus.refuse(400)
    user = zeus()
    mail = a_mail(Client(source=Source.FORM, user=user))
    dispatch()
    advice = advice_for(mail)

    assert advice.title.startswith("Not sent: the provider rejected the message itself")
    assert advice.errors[0].startswith("olympus: replied “")
    assert "http-400" in advice.errors[0]
    page = browser_of(user).get(f"/mails/{mail.pk}").text
    assert advice.next_step in page
    assert f"/?copy={mail.pk}" in page
    assert "You made my day" in browser_of(user).get(f"/?copy={mail.pk}").text
    assert f"→ {advice.next_step}" in run("mail", str(mail.pk)).out


def test_an_email_that_failed_because_of_an_account_needs_no_correction(olympus):
    mail = a_mail()
    Mail.objects.filter(pk=mail.pk).update(
        status=Status.DISCARDED, failure_class="account", finished_at=database_clock.now()
    )
    olympus.refuse(401)
    mail = reloaded(mail)

    advice = advice_for(mail)

    assert advice.title == "Not sent: no account was available."
    assert not advice.may_copy


def test_a_rejected_email_names_each_error_and_who_corrects_it():
    mail = a_rejected_mail(sender="zeus", recipient=HERA)

    advice = advice_for(mail)

    assert advice.errors[0].startswith("sender: ")
    assert "has to correct this and send the email again" in advice.next_step


def test_a_sent_email_names_the_addresses_that_were_refused(olympus):
    mail = a_mail(recipient=f"{HERA}, {IRIS}")
    dispatch()
    assert advice_for(mail) is None

    Recipient.objects.filter(mail=mail, address=IRIS).update(state=RecipientState.REFUSED, reason="550 no such user")

    assert advice_for(mail).errors == [f"{IRIS}: 550 no such user"]


@pytest.mark.parametrize("status", [Status.QUEUED, Status.SENDING, Status.WAITING, Status.HELD, Status.CANCELLED])
def test_an_email_that_is_on_its_way_or_cancelled_needs_no_advice(status):
    assert advise(Mail(status=status), [], [], []) is None


def test_an_expired_email_may_be_sent_again():
    advice = advise(Mail(status=Status.EXPIRED), [], [], [])

    assert advice.may_copy
    assert "Send it again if it still matters" in advice.next_step
