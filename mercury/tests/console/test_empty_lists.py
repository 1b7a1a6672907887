"""An empty list of the admin says what appears in it and how that comes about."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.urls import reverse

from mails.models import Event, Mail
from mails.tests.people import browser_of, hermes
from providers.models import Account

pytestmark = pytest.mark.django_db

# The person who looks; two sandboxes; its list is that of emails; its own page says what to do first.
NEVER_EMPTY = {User, Account, Event, Mail}
LISTS = sorted({model._meta.label for model in admin.site._registry} - {model._meta.label for model in NEVER_EMPTY})


def empty(label: str) -> str:
    """Empty the list, and return its URL."""
    options = apps.get_model(label)._meta
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {options.db_table}")
    return reverse(f"admin:{options.app_label}_{options.model_name}_changelist")


@pytest.mark.parametrize("label", LISTS)
def test_an_empty_list_says_in_a_sentence_what_appears_here(label):
    operator = browser_of(hermes())
    model_admin = admin.site._registry[apps.get_model(label)]

    page = operator.get(empty(label)).text

    sentence = model_admin.empty_sentence
    assert sentence.endswith(".")
    assert sentence.count(". ") == 0
    assert f"No {model_admin.opts.verbose_name_plural} yet" in page
    assert page.count(sentence) == 1


@pytest.mark.parametrize(
    "label", [label for label in LISTS if admin.site._registry[apps.get_model(label)].search_fields]
)
def test_a_search_without_results_leads_back_to_the_whole_list(label):
    operator = browser_of(hermes())

    page = operator.get(f"{empty(label)}?q=tartarus").text

    assert "Nothing matches" in page
    assert admin.site._registry[apps.get_model(label)].empty_sentence not in page
    assert '<a href="?">show all</a>' in page
