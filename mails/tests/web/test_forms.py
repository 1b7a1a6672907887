"""The submit form: which sender it offers, and how it shows what intake found."""

import pytest

from mails.intake.receipts import InvalidField, RefusalReason, Refused
from mails.intake.submission import get_field
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

    form.show_refusal(refused("weather", "It is in the past."))

    assert form.error_list == [("", "", "It is in the past.")]


def test_what_is_corrected_is_another_mail():
    form = SubmitForm(TYPED, senders=["*"]).with_new_key()

    assert form.data["idempotency_key"] != "k"
    assert form.data["recipient"] == "hera"


def test_what_is_not_filled_in_is_no_part_of_the_submission():
    form = SubmitForm(TYPED | {"cc": "iris@olimpus.com", "html": "<p>\r\nHi"}, senders=["*"])

    assert form.is_valid()
    assert form.build_submission().fields == {
        "sender": "zeus@olimpus.com",
        "recipient": "hera",
        "cc": "iris@olimpus.com",
        "subject": "Hi",
        "content": " a\nb",
        "html": "<p>\nHi",
    }


def test_a_time_is_submitted_with_its_zone():
    form = SubmitForm(TYPED | {"send_at": "2026-12-24T19:00", "time_zone": "Europe/Berlin"}, senders=["*"])

    assert form.is_valid()
    assert form.has_later
    fields = form.build_submission().fields
    assert fields["send_at"] == "2026-12-24T19:00[Europe/Berlin]"
    assert "time_zone" not in fields


def test_a_zone_alone_is_no_time():
    form = SubmitForm(TYPED | {"time_zone": "Europe/Berlin"}, senders=["*"])

    assert form.is_valid()
    assert not form.has_later
    assert "send_at" not in form.build_submission().fields


def test_labels_and_choices_are_those_of_the_declarations():
    form = SubmitForm(senders=["*"])

    assert form["reply_to"].label == get_field("reply_to").label
    assert [value for value, _ in form.fields["queue"].widget.choices] == ["", *get_field("queue").choices]


def test_a_body_is_shown_again_where_other_fields_would_be_too_long():
    form = SubmitForm(TYPED | {"html": "x" * 1_000_000, "cc": "x" * 1_000_000}, senders=["*"])
    form.is_valid()

    shown = form.with_new_key()

    assert len(shown.data["html"]) == 1_000_000
    assert shown.data["cc"] == ""
    assert [label for _, label, _ in shown.error_list] == ["Cc"]


def test_fields_that_few_need_are_folded_until_one_is_filled_in():
    assert not SubmitForm(senders=["*"]).has_more
    assert SubmitForm(TYPED | {"queue": "bulk"}, senders=["*"]).has_more


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ({"headers": "X-Order: 17\nnonsense"}, "Line 2 has no colon. Write one pair a line: X-Order: 17."),
        ({"metadata": "order: 17\norder: 18"}, "order is in it twice. Write each name once."),
    ],
)
def test_pairs_that_cannot_be_read_say_why(typed, problem):
    form = SubmitForm(TYPED | typed, senders=["*"])

    assert not form.is_valid()
    assert [*form.errors.values()] == [[problem]]


def test_an_error_of_an_entry_names_it():
    form = SubmitForm(TYPED, senders=["*"])
    form.is_valid()
    error = InvalidField(field="headers", code="empty", detail="It is empty.", path=("X-Order",))

    form.show_refusal(Refused(reason=RefusalReason.INVALID_MAIL, detail="", errors=(error,)))

    assert form["headers"].errors == ["X-Order: It is empty."]
