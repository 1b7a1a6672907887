import datetime as dt

import pytest
from django.contrib.auth.models import Permission, User
from django.utils import timezone
from rest_framework.test import APIClient

from mails.access import api_keys
from mails.access.api_keys import Scope
from mails.tests.callers import HELLO, MAILS, caller, problem

pytestmark = pytest.mark.django_db
PROVIDERS = "/api/v1.0/dispatcher/providers/"


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic emV1czp6ZXVz", "mk_x", "Bearer ä"]
)
def test_without_a_good_key_it_is_a_401_with_a_challenge(header):
    client = APIClient()
    if header is not None:
        client.credentials(HTTP_AUTHORIZATION=header)

    for answer in (client.get(MAILS), client.post(MAILS, HELLO), client.get(MAILS + "x"), client.get(PROVIDERS)):
        problem(answer, 401)
        assert answer["WWW-Authenticate"].startswith('Bearer realm="Mercury"')


def test_a_revoked_or_expired_key_is_a_401_that_says_so():
    zeus = caller()
    api_keys.revoke(zeus.key)
    hera = caller("hera", expires_at=timezone.now() - dt.timedelta(seconds=1))

    for client in (zeus, hera):
        assert "expired or revoked" in problem(client.get(MAILS), 401, "wrong_key")["detail"]


def test_the_scheme_may_be_written_in_any_case():
    zeus = caller()
    zeus.credentials(HTTP_AUTHORIZATION=f"bearer {zeus.text}")

    assert zeus.get(MAILS).status_code == 200


@pytest.mark.parametrize(
    ("scope", "method", "path"),
    [
        (Scope.MAILS_SEND, "post", MAILS),
        (Scope.MAILS_READ, "get", MAILS),
        (Scope.MAILS_READ, "head", MAILS),
        (Scope.MAILS_READ, "get", MAILS + "x"),
        (Scope.MAILS_READ, "get", MAILS + "x/events/"),
        (Scope.MAILS_READ, "get", MAILS + "x/events/1"),
        (Scope.EVENTS_WRITE, "post", MAILS + "x/events/"),
        (Scope.PROVIDERS_READ, "get", PROVIDERS),
        (Scope.PROVIDERS_WRITE, "post", PROVIDERS),
        (Scope.PROVIDERS_WRITE, "put", PROVIDERS + "1"),
        (Scope.PROVIDERS_WRITE, "delete", PROVIDERS + "1"),
    ],
)
def test_a_key_without_the_scope_gets_a_403_that_names_it(scope, method, path):
    lacking = caller("lacking", scopes=[granted for granted in api_keys.SCOPES if granted != scope])
    having = caller("having", scopes=[scope])

    answer = getattr(lacking, method)(path)

    assert answer.status_code == 403
    if method != "head":
        assert f"'{scope}'" in problem(answer, 403, "missing_scope")["detail"]
    assert getattr(having, method)(path).status_code not in {401, 403}


def test_a_method_that_is_not_there_is_a_405_whatever_the_scopes():
    nobody = caller("nobody", scopes=[])

    for client in (nobody, caller()):
        answer = client.delete(MAILS)
        problem(answer, 405, "method_not_allowed")
        assert answer["Allow"] == "GET, POST, HEAD, OPTIONS"


@pytest.mark.parametrize(
    ("codename", "method", "status"),
    [
        (None, "get", 403),
        ("view_account", "get", 200),
        ("view_account", "post", 403),
        ("change_account", "post", 403),
        ("add_account", "post", 400),
    ],
)
def test_people_reach_accounts_by_djangos_permissions(codename, method, status):
    user = User.objects.create_user("argus", is_staff=True)
    if codename:
        user.user_permissions.add(Permission.objects.get(codename=codename, content_type__app_label="providers"))
    client = APIClient()
    client.force_login(user)

    assert getattr(client, method)(PROVIDERS).status_code == status


def test_a_person_who_was_disabled_is_nobody():
    user = User.objects.create_user("icarus")
    client = APIClient()
    client.force_login(user)
    User.objects.update(is_active=False)

    problem(client.get(MAILS), 401)
