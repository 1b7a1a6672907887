"""docs/api.md has the fields of provider accounts as they are declared."""

from django.conf import settings

from mails.tests.tables import answer_table, request_table
from providers.api.serializers import FIELDS, NewProviderAccountSerializer, ProviderAccountSerializer

PAGE = (settings.BASE_DIR / "docs" / "api.md").read_text()


def test_the_fields_of_a_new_account_are_in_the_page_as_they_are_declared():
    assert request_table(NewProviderAccountSerializer) in PAGE


def test_the_fields_of_an_account_are_in_the_page_as_they_are_declared():
    assert answer_table(ProviderAccountSerializer) in PAGE


def test_the_fields_to_filter_and_sort_accounts_by_are_in_the_page():
    section = PAGE.partition("## Provider accounts")[2].partition("\n## ")[0].partition("filter and sort by")[2]

    assert [field for field in FIELDS if f"`{field}`" not in section] == []
