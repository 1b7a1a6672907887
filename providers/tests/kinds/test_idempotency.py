"""The key of a call is the same for the same email and recipients, and for nothing else."""

import uuid

from providers.kinds.idempotency import ATTRIBUTE, make_key
from providers.tests.support import accounts

HERA, IRIS = "hera@olimpus.com", "iris@olimpus.com"


def test_a_key_is_the_same_at_each_build_whatever_the_order_and_the_spelling_of_recipients():
    first = make_key(accounts.mail(to=[HERA], cc=[f"Iris <{IRIS}>"]))
    second = make_key(accounts.mail(to=["Iris@olimpus.com", HERA]))

    assert first == second
    assert str(uuid.UUID(first)) == first


def test_other_recipients_have_another_key():
    assert make_key(accounts.mail(to=[HERA])) != make_key(accounts.mail(to=[HERA, IRIS]))


def test_another_email_has_another_key():
    assert make_key(accounts.mail()) != make_key(accounts.mail(headers={"X-Mercury-ID": "another"}))


def test_an_email_that_is_sent_again_on_purpose_has_another_key():
    first, second = accounts.mail(), accounts.mail()
    setattr(first, ATTRIBUTE, "1")
    setattr(second, ATTRIBUTE, "2")

    assert make_key(first) != make_key(second)
