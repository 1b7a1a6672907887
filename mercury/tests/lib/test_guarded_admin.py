"""Django's admin answers declared lookups only, for every model that it shows."""

import datetime as dt

import pytest
from django.contrib import admin
from django.urls import reverse

from mails.access import api_keys
from mails.tests.people import browser_of, hermes
from mercury.lib.audit import log as audit
from mercury.lib.audit.models import Act, AuditEntry
from mercury.lib.guarded_admin import MAX_SEARCH_WORDS, GuardedAdmin

pytestmark = pytest.mark.django_db
MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
NAMES = [model._meta.label for model in MODELS]


def changelist(model) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_every_page_of_a_model_is_guarded(model):
    assert isinstance(admin.site._registry[model], GuardedAdmin)


@pytest.mark.parametrize("model", MODELS, ids=NAMES)
def test_no_lookup_is_answered_that_no_page_declares(model, rf):
    page = admin.site._registry[model]
    request = rf.get("/")
    request.user = hermes()
    declared = page._list_declared_lookups(request)

    for field in model._meta.get_fields():
        for lookup in ("regex", "iregex", "startswith", "contains", "gt", "in", "range", "exact"):
            name = f"{field.name}__{lookup}"
            assert page.lookup_allowed(name, "x", request) == (name in declared)
    assert not [name for name in declared if "secret" in name or "password" in name or name.endswith("regex")]


@pytest.mark.parametrize(
    "query", ["secret_hash__regex=^a", "secret_hash=a", "prefix__startswith=a", "mails__subject=x"]
)
def test_a_key_cannot_be_read_through_the_lists_address(query):
    api_keys.create("shop", scopes=[], senders=[])

    assert browser_of(hermes()).get(f"/admin/mails/apikey/?{query}").status_code == 400


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("auth/user/", "is_staff__exact=1"),
        ("auth/user/", "groups__id__exact=1"),
        ("auth/user/", "q=zeus&o=1"),
        ("axes/accessattempt/", "path_info=/login/"),
        ("axes/accesslog/", "attempt_time__gte=2026-01-01T00:00Z&attempt_time__year=2026"),
        ("audit/auditentry/", "act__exact=rotate&kind=API+key"),
        ("providers/breakerchange/", "account_name=olympus"),
    ],
)
def test_the_filters_of_a_page_work(path, query):
    assert browser_of(hermes()).get(f"/admin/{path}?{query}").status_code == 200


def test_passwords_are_not_read_digit_by_digit():
    browser = browser_of(hermes())

    for lookup in ("password__regex=^pbkdf2", "password__startswith=p", "user_permissions__codename=x"):
        assert browser.get(f"/admin/auth/user/?{lookup}").status_code == 400


def test_a_search_takes_ten_words():
    browser = browser_of(hermes())

    page = browser.get("/admin/auth/user/", {"q": " ".join(["hermes"] * MAX_SEARCH_WORDS + ["nobody"])})

    assert "Only the first 10 words were searched for." in page.text
    assert "1 user" in page.text


@pytest.mark.parametrize(
    "path", ["auth/user/{}/change/", "auth/user/{}/delete/", "auth/user/{}/history/", "auth/user/add/"]
)
def test_every_page_says_where_it_is_from_the_overview_on(path):
    operator = hermes()

    page = browser_of(operator).get(f"/admin/{path.format(operator.pk)}").text

    assert '<a href="/admin/">Overview</a> &rsaquo; <a href="/admin/auth/user/">Users</a>' in page


def test_a_time_in_a_list_has_its_zone():
    at = dt.datetime(2026, 11, 30, 17, 13, 15, tzinfo=dt.UTC)
    audit.record(Act.REVOKE, by="user:hermes", kind="API key", name="shop", object_id=1)
    AuditEntry.objects.update(created_at=at)

    page = browser_of(hermes()).get("/admin/audit/auditentry/").text

    assert "30 Nov 2026, 17:13:15 UTC" in page
