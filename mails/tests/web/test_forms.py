"""The submit form: which sender it offers, and how it shows what intake found."""

from mails.intake.receipts import InvalidField, RefusalReason, Refused
from mails.web.forms import SubmitForm

TYPED = {
    "sender": "zeus@olimpus.com",
    "recipient": "hera",
    "subject": "Hi",
    "content": " a\r\nb",
    "idempotency_key": "k",
}


def refused(field, detail):
    error = InvalidField(field=field, code="invalid", detail=detail)
    return Refused(reason=RefusalReason.INVALID_MAIL, detail=detail, errors=(error,))


def test_known_senders_are_a_choice():
    html = str(SubmitForm(senders=["mercury@olimpus.com", "zeus@olimpus.com"])["sender"])

    assert "<select" in html
    assert "mercury@olimpus.com" in html


def test_who_may_send_as_anybody_gets_a_text_field():
    for senders in (["*"], ["@olimpus.com", "zeus@olimpus.com"]):
        form = SubmitForm(senders=senders)
        assert "<select" not in str(form["sender"])
    assert form.known_senders == ["zeus@olimpus.com"]
    assert "@olimpus.com" in str(form.fields["sender"].help_text)


def test_a_sender_with_a_name_stays_a_choice_where_its_address_is_allowed():
    named = {"sender": "Zeus <zeus@olimpus.com>"}

    offered = SubmitForm(initial=named, senders=["hera@olimpus.com", "zeus@olimpus.com"])
    refused = SubmitForm(initial=named, senders=["hera@olimpus.com"])

    assert "Zeus &lt;zeus@olimpus.com&gt;" in str(offered["sender"])
    assert (offered.refused_sender, refused.refused_sender) == ("", named["sender"])
    assert "Zeus" not in str(refused["sender"])
    assert "Zeus" in str(SubmitForm(TYPED | named, senders=["zeus@olimpus.com"])["sender"])


def test_line_ends_of_browsers_become_line_feeds_and_blanks_stay():
    form = SubmitForm(TYPED, senders=["*"])

    assert form.is_valid()
    assert form.build_submission().fields["content"] == " a\nb"


def test_errors_are_listed_with_the_field_and_the_first_sentence():
    form = SubmitForm(TYPED, senders=["*"])
    form.is_valid()

    form.show_refusal(refused("recipients", "'hera' is not an address. Write it in full."))

    assert form.error_list == [("id_recipient", "To", "'hera' is not an address")]
    assert form["recipient"].errors == ["'hera' is not an address. Write it in full."]


def test_an_error_of_no_field_is_listed_without_a_link():
    form = SubmitForm(TYPED, senders=["*"])
    form.is_valid()

    form.show_refusal(refused("delivery_guarantee", "There is no such policy."))

    assert form.error_list == [("", "", "There is no such policy.")]


def test_what_is_corrected_is_another_mail():
    form = SubmitForm(TYPED, senders=["*"]).with_new_key()

    assert form.data["idempotency_key"] != "k"
    assert form.data["recipient"] == "hera"
