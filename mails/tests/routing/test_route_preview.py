"""The preview answers as the dispatcher then decides."""

import datetime as dt

import pytest

from mails.actions import pausing
from mails.intake.receipts import Refused
from mails.intake.route_preview import preview_mail, preview_submission
from mails.models import Event, Mail
from mails.obstacles import SendingConditions
from mails.routing import changes, review
from mails.routing.book import get_book
from mails.routing.drafts import read_draft
from mails.states import Actor
from mails.tests.builders import COMMAND, HELLO, a_mail, dispatch, reloaded
from mails.tests.routing.builders import a_rule, blob_of, evaluation_of
from mercury.lib.database import database_clock
from providers.accounts import registration
from providers.models import Breaker, BreakerState

pytestmark = pytest.mark.django_db(transaction=True)
EMAILS = [
    *({"recipient": f"hera@{domain}"} for domain in ("hera.gr", "mail.hera.gr", "olimpus.com", "shop.example.com")),
    *({"recipient": "hera@hera.gr", "tags": [tag]} for tag in ("invoice", "receipt", "welcome")),
    *({"tags": [tag], "queue": "bulk"} for tag in ("news", "invoice")),
    *({"content": "x" * size} for size in (10, 100_000, 300_000)),
    *({"html": f"<p>{'x' * size}</p>"} for size in (10, 300_000)),
    *({"recipient": [f"hera{n}@olimpus.com" for n in range(number)]} for number in (2, 5, 20)),
    {"recipient": ["hera@hera.gr", "hera@olimpus.com"]},
    {"sender": "zeus@mail.olimpus.com"},
    {"sender": "Zeus <zeus@olimpus.com>", "cc": "iris@hera.gr"},
    {"metadata": {"order": "17"}, "reply_to": "iris@olimpus.com"},
]


def preview_of(fields):
    return preview_submission(fields, client=COMMAND, book=get_book(), conditions=SendingConditions.load())


@pytest.fixture
def many(olympus, hades):
    """Five accounts in different states, and five rules."""
    for name in ("zeus", "iris", "ares"):
        registration.register(name, "sandbox", {}, weight=2, priority=2 if name == "iris" else 1, by="test")
    later = database_clock.now() + dt.timedelta(minutes=5)
    Breaker.objects.filter(account__name="ares").update(state=BreakerState.OPEN, open_until=later)
    a_rule("greece", "hades", {"account": "iris", "priority": 2}, recipient_domain=["hera.gr", "*.hera.gr"])
    a_rule("invoices", "olympus", tag=["invoice", "receipt"])
    a_rule("large", {"account": "zeus", "weight": 5}, "iris", size={"from": 200_000})
    a_rule("many", "ares", "iris", recipients={"from": 3})
    a_rule("bulk", "olympus", "ares", queue=["bulk"])


def test_the_answer_for_twenty_emails_is_what_the_dispatcher_then_evaluates(many):
    previews = [preview_of({**HELLO, **email}) for email in EMAILS]
    mails = [a_mail(**email) for email in EMAILS]

    assert dispatch("text", "html", "bulk", concurrency=64) == len(EMAILS) >= 20

    for found, mail in zip(previews, mails, strict=True):
        assert not isinstance(found, Refused)
        expected = {
            account.account: (account.eligible, account.weight, account.priority, account.note)
            for account in found.accounts
        }
        assert evaluation_of(mail) == expected
        blob = blob_of(mail)
        assert blob.get("rule") == (found.rule.name if found.rule else None)
        assert next(account.share for account in found.accounts if account.account == blob["service"]) > 0
        assert reloaded(mail).queue == found.queue
    assert {found.rule.name for found in previews if found.rule} == {"greece", "invoices", "large", "many", "bulk"}


def test_nothing_is_stored(many):
    before = Mail.objects.count(), Event.objects.count()

    preview_of(HELLO)

    assert (Mail.objects.count(), Event.objects.count()) == before


def test_it_says_why_each_rule_does_not_decide(olympus, hades):
    a_rule("off", "olympus", enabled=False)
    a_rule("invoices", "olympus", tag=["invoice"])
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    a_rule("rest", "olympus")

    found = preview_of({**HELLO, "recipient": "hera@hera.gr"})

    assert found.sentence == "This email would go to hades by the rule 'greece'."
    assert [(check.rule.name, check.decides, check.why_not) for check in found.rules] == [
        ("off", False, "it is disabled"),
        ("invoices", False, "it has no tag invoice"),
        ("greece", True, ""),
        ("rest", False, "it matches too, and a rule before it decides"),
    ]


def test_shares_follow_weights(olympus, hades):
    registration.update(olympus.account, weight=3, by="test")

    assert preview_of(HELLO).sentence == "This email would go to olympus (75%) or hades (25%)."


def test_an_email_that_would_wait_is_said_to(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    hades.disable()
    pausing.pause_sending("text", by=Actor.COMMAND)

    found = preview_of({**HELLO, "recipient": "hera@hera.gr"})

    assert found.sentence == "No account could take this email now by the rule 'greece': it would wait."
    assert found.paused.startswith("Queue text is paused")


def test_an_email_that_would_be_refused_is_refused(olympus):
    found = preview_of({**HELLO, "recipient": "nobody"})

    assert isinstance(found, Refused)
    assert "recipient" in found.detail
    assert Mail.objects.count() == 0


def test_a_stored_email_is_previewed_as_it_is_now(olympus, hades):
    mail = a_mail(recipient="hera@hera.gr", tags=["invoice"])
    a_rule("invoices", "hades", tag=["invoice"])

    found = preview_mail(reloaded(mail), book=get_book(), conditions=SendingConditions.load())

    assert found.sentence == "This email would go to hades by the rule 'invoices'."
    Mail.objects.filter(pk=mail.pk).update(routing_constraint={"via": "olympus"})
    chosen = preview_mail(reloaded(mail), book=get_book(), conditions=SendingConditions.load())
    assert chosen.sentence == "This email would go to olympus."
    assert [check.why_not for check in chosen.rules] == ["a person chose the account, which goes before every rule"]


def test_a_rule_is_tried_before_it_is_stored(olympus, hades):
    a_rule("greece", "hades", recipient_domain=["hera.gr"])
    draft = read_draft({"name": "hera", "accounts": ["olympus"]}, known_accounts=changes.list_known_accounts())
    book = review.build_book(review.list_rules(draft.to_row(), 1))

    found = preview_submission(
        {**HELLO, "recipient": "hera@hera.gr"}, client=COMMAND, book=book, conditions=SendingConditions.load()
    )

    assert found.rule.name == "hera"
    assert get_book().match(found.facts).name == "greece"
