"""Provider accounts over the API. Signed in as people, for keys and their scopes belong to `mails`."""

import socket

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from providers.accounts import registry
from providers.health import breaker_store
from providers.kinds.catalog import KINDS
from providers.models import Account, Breaker, BreakerChange, BreakerMode

pytestmark = pytest.mark.django_db
URL = "/api/v1.0/dispatcher/providers/"
KEY = "SG.thunderbolt-4fA"
OLYMPUS = {"name": "olympus", "kind": "sendgrid", "options": {"api_key": KEY}, "weight": 2, "priority": 3, "rate": 14}


def _client(*permissions):
    user = User.objects.create_user("zeus")
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions, content_type__app_label="providers"))
    client = APIClient()
    client.force_login(user)
    return client


@pytest.fixture
def operator():
    return _client("view_account", "add_account", "change_account", "delete_account")


@pytest.fixture
def olympus(operator):
    return operator.post(URL, OLYMPUS).json()


def _url(name):
    return f"{URL}{Account.objects.get(name=name).pk}"


def test_an_account_is_registered_and_never_shows_its_secret(operator):
    answer = operator.post(URL, OLYMPUS)

    assert answer.status_code == 201, answer.json()
    body = answer.json()
    assert answer["Location"] == body["url"] == f"http://testserver{URL}{body['id']}"
    assert body["options"] == {
        "api_key": "set, ends …4fA",
        "api_url": "https://api.sendgrid.com/v3/",
        "max_connections": "",
        "ca": "",
    }
    assert (body["weight"], body["priority"], body["rate"], body["enabled"], body["in_use"]) == (2, 3, 14, True, True)
    assert body["breaker"] == {"mode": "auto", "state": "closed", "says": "no recent errors"}
    assert tuple(body["can"]) == KINDS["sendgrid"].capabilities.can
    assert tuple(body["cannot"]) == KINDS["sendgrid"].capabilities.cannot
    for text in (answer.content, operator.get(body["url"]).content, operator.get(f"{URL}?expand=true").content):
        assert KEY.encode() not in text
    assert BreakerChange.objects.get().by == "user:zeus"


def test_the_list_holds_urls_and_with_expand_whole_accounts(operator, olympus):
    short = operator.get(URL).json()
    whole = operator.get(f"{URL}?expand=true").json()

    assert short["providers"] == [olympus["url"]]
    assert whole["providers"] == [olympus]
    assert short["meta"]["total"] == 1


@pytest.mark.parametrize(("query", "queries"), [("", 7), ("?expand=true", 8)])
def test_the_list_reads_the_accounts_once(operator, olympus, django_assert_num_queries, query, queries):
    operator.get(URL)

    # Session, person and permissions (4), the registry, the count, the page; and what whole accounts refuse.
    with django_assert_num_queries(queries):
        assert operator.get(URL + query).status_code == 200


def test_default_sandboxes_are_listed_before_anything_was_sent(operator):
    body = operator.get(f"{URL}?expand=true").json()

    assert [account["name"] for account in body["providers"]] == ["sandbox-a", "sandbox-b"]
    assert {account["source"] for account in body["providers"]} == {"default"}


def test_the_list_is_filtered_and_sorted(operator):
    body = operator.get(f"{URL}?expand=true&filter=name,like,sandbox%25&sort=name,desc&per_page=1").json()

    assert [account["name"] for account in body["providers"]] == ["sandbox-b"]
    assert body["meta"]["pages"] == 2


@pytest.mark.parametrize("query", ["filter=colour,eq,red", "sort=colour", "page=0", "expand=perhaps"])
def test_a_query_that_cannot_be_read_is_a_400(operator, query):
    assert operator.get(f"{URL}?{query}").status_code == 400


@pytest.mark.parametrize("account_id", ["0", "999999", "9" * 30, "olympus", "-1", "1.0", "²"])
def test_an_unknown_account_is_a_404(operator, account_id):
    for method in (operator.get, operator.put, operator.delete):
        assert method(f"{URL}{account_id}").status_code == 404


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": None}, "/name"),
        ({"name": "Olympus"}, "/name"),
        ({"name": ["olympus"]}, "/name"),
        ({"kind": "pigeon"}, "/kind"),
        ({"kind": 3}, "/kind"),
        ({"options": "key"}, "/options"),
        ({"options": {}}, "/options/api_key"),
        ({"options": {"api_key": {}}}, "/options/api_key"),
        ({"options": {"api_key": KEY, "api_url": "http://127.0.0.1:6379/"}}, "/options/api_url"),
        ({"options": {"api_key": KEY, "a/b~c": "x"}}, "/options/a~1b~0c"),
        ({"weight": "2"}, "/weight"),
        ({"weight": True}, "/weight"),
        ({"priority": 0}, "/priority"),
        ({"priority": "1"}, "/priority"),
        ({"weight": 10**40}, "/weight"),
        ({"rate": "14/s"}, "/rate"),
        ({"rate": 10**400}, "/rate"),
        ({"rate": 5e-324}, "/rate"),
        ({"trust_500": None}, "/trust_500"),
        ({"enabled": 1}, "/enabled"),
        ({"wieght": 2}, "/wieght"),
    ],
)
def test_an_error_names_its_field(operator, changes, pointer):
    answer = operator.post(URL, OLYMPUS | changes)

    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert KEY not in answer.content.decode()
    assert not Account.objects.filter(name="olympus").exists()


def test_each_wrong_option_is_named(operator):
    options = {"port": 0, "security": "x", "foo": 1, "a.b": 2}

    answer = operator.post(URL, {"name": "relay", "kind": "smtp", "options": options})

    pointers = [error["pointer"] for error in answer.json()["errors"]]
    assert sorted(pointers) == ["/options/a.b", "/options/foo", "/options/host", "/options/port", "/options/security"]


def test_what_is_missing_is_named(operator):
    answer = operator.post(URL, {})

    assert [error["pointer"] for error in answer.json()["errors"]] == ["/name", "/kind"]


def test_what_an_answer_showed_can_be_put_back(operator, olympus):
    answer = operator.put(olympus["url"], olympus)

    assert answer.status_code == 200, answer.json()
    assert answer.json() == olympus
    (candidate,) = registry.load_candidates()
    assert candidate.config.options["api_key"] == KEY


def test_what_is_left_out_stays(operator, olympus):
    answer = operator.put(
        olympus["url"], {"weight": 0, "rate": None, "options": {"api_url": "https://api.eu.sendgrid.com/v3/"}}
    )

    assert answer.status_code == 200, answer.json()
    (candidate,) = registry.load_candidates()
    assert (candidate.config.weight, candidate.config.rate) == (0, None)
    assert candidate.config.options == {
        "api_key": KEY,
        "api_url": "https://api.eu.sendgrid.com/v3/",
        "max_connections": None,
    }


def test_an_account_keeps_its_name_and_kind(operator, olympus):
    answer = operator.put(olympus["url"], {"name": "hades", "kind": "sandbox"})

    assert answer.status_code == 400
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/name", "/kind"]


def test_a_wrong_change_is_a_400_that_names_the_field(operator, olympus):
    answer = operator.put(olympus["url"], {"weight": -1})

    assert [error["pointer"] for error in answer.json()["errors"]] == ["/weight"]


def test_a_stored_key_follows_no_new_address_by_itself(operator, olympus):
    elsewhere = {"api_url": "https://api.hades.example/v3/"}

    answer = operator.put(olympus["url"], {"options": elsewhere})
    as_shown = operator.put(olympus["url"], {"options": olympus["options"] | elsewhere})

    for refused in (answer, as_shown):
        assert refused.status_code == 400
        assert [error["pointer"] for error in refused.json()["errors"]] == ["/options/api_key"]
    assert operator.get(olympus["url"]).json()["options"] == olympus["options"]
    assert operator.put(olympus["url"], {"options": elsewhere | {"api_key": KEY}}).status_code == 200


def test_an_account_is_removed(operator, olympus):
    assert operator.delete(olympus["url"]).status_code == 204
    assert operator.get(olympus["url"]).status_code == 404


def test_what_comes_from_the_environment_is_changed_there(operator, settings):
    settings.MERCURY_ENVIRONMENT = {"PROVIDER_HADES": f"sendgrid://:{KEY}@"}
    operator.get(URL)
    url = _url("hades")

    assert operator.put(url, {"options": {"api_key": "other"}}).status_code == 409
    removed = operator.delete(url)
    assert removed.status_code == 409
    assert "Remove its variable" in removed.json()["detail"]
    assert operator.put(url, {"weight": 3, "rate": 1.5, "enabled": False}).status_code == 200
    body = operator.get(url).json()
    assert (body["source"], body["weight"], body["rate"], body["in_use"]) == ("environment", 3, 1.5, False)


def test_a_forced_breaker_is_shown(operator, olympus):
    breaker_store.force("olympus", BreakerMode.OPEN, by="zeus")

    assert operator.get(olympus["url"]).json()["breaker"]["says"] == "Forced open"


def test_a_reader_may_read_and_nothing_else():
    reader = _client("view_account")

    assert reader.get(URL).status_code == 200
    answer = reader.post(URL, OLYMPUS)
    assert answer.status_code == 403
    assert "providers.add_account" in answer.json()["detail"]
    assert reader.put(_url("sandbox-a"), {"weight": 2}).status_code == 403
    assert reader.delete(_url("sandbox-a")).status_code == 403


def test_others_may_not_even_read():
    assert _client().get(URL).status_code == 403
    assert APIClient().get(URL).status_code == 401


def test_other_methods_are_a_405(operator, olympus):
    assert operator.patch(olympus["url"], {}).status_code == 405
    assert operator.delete(URL).status_code == 405


def test_no_cache_keeps_an_account(operator):
    assert "no-cache" in operator.get(URL)["Cache-Control"]


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
HOSTS = st.sampled_from(
    ["127.0.0.1", "[::1]", "[", "0", "localhost:6379", "a..b", "ä.example", "a" * 300, "%", "\\", "x y"]
)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "api_key": JUNK | st.just(KEY),
        "api_url": JUNK | HOSTS.map("https://{}/v3".format),
        "sender_domain": JUNK | HOSTS,
        "host": JUNK | HOSTS,
        "port": JUNK,
        "username": JUNK,
        "password": JUNK,
        "security": JUNK | st.sampled_from(["tls", "none"]),
    },
)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "name": JUNK | st.from_regex(r"[a-z]{1,3}(-[a-z])?", fullmatch=True),
        "kind": JUNK | st.sampled_from(["sendgrid", "mailgun", "smtp", "sandbox"]),
        "options": JUNK | OPTIONS,
        "weight": JUNK,
        "priority": JUNK,
        "rate": JUNK,
        "trust_500": JUNK,
        "enabled": JUNK,
        "junk": JUNK,
    },
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES)
def test_no_body_whatsoever_is_a_500(operator, monkeypatch, body):
    monkeypatch.setattr(socket, "getaddrinfo", _not_found)
    registry.sync()

    answers = [operator.post(URL, body), operator.put(_url("sandbox-a"), body)]

    assert {answer.status_code for answer in answers} <= {200, 201, 400, 409}


def _not_found(*args, **kwargs):
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


def test_the_schema_has_the_accounts(client):
    answer = client.get(f"{reverse('schema')}?format=json")

    paths = answer.json()["paths"]
    assert set(paths[URL]) >= {"get", "post"}
    assert set(paths[URL + "{account_id}"]) >= {"get", "put", "delete"}
    assert "ProviderAccount" in answer.json()["components"]["schemas"]


def test_the_schema_gives_each_option_the_type_and_limits_of_its_check(client):
    described = client.get("/api/v1.0/schema?format=json").json()["components"]["schemas"]
    numbers = {
        (kind.label, option.name): option.most
        for kind in KINDS.values()
        for option in kind.options
        if option.most is not None
    }

    assert ("SMTP", "max_connections") in numbers
    for (label, name), most in numbers.items():
        option = described[f"{label.replace(' ', '')}Options"]["properties"][name]
        assert (option["type"], option["minimum"], option["maximum"]) == ("integer", 1, most)


def test_quotas_are_set_changed_and_shown(operator, olympus):
    body = operator.put(olympus["url"], {"daily_quota": 500, "warm_up": "2020-01-01:30d"}, format="json").json()

    assert (body["daily_quota"], body["monthly_quota"], body["warm_up"]) == (500, None, "2020-01-01:30d")
    assert body["quota"]["allowed_today"] == body["quota"]["left"] == 500
    assert (body["quota"]["unit"], body["quota"]["reason"]) == ("recipients", "")
    assert operator.put(olympus["url"], body, format="json").json()["daily_quota"] == 500

    assert operator.put(olympus["url"], {"daily_quota": None}, format="json").json()["daily_quota"] is None


@pytest.mark.parametrize("quota", [{"daily_quota": 0}, {"quota_zone": "Olympus"}, {"warm_up": "soon"}])
def test_an_impossible_quota_is_refused_by_its_name(operator, olympus, quota):
    answer = operator.put(olympus["url"], quota, format="json")

    assert answer.status_code == 400
    assert next(iter(quota)) in str(answer.json()["errors"])


def test_an_account_out_of_quota_is_opened_again(operator, olympus):
    Breaker.objects.update(out_of_quota_since=timezone.now(), out_of_quota_reason="No credits.")
    shown = operator.get(olympus["url"]).json()["quota"]
    assert (shown["reason"], shown["out_reason"]) == (
        "out of quota at the provider until someone opens it",
        "No credits.",
    )

    answer = operator.post(f"{olympus['url']}/open", {"note": "bought"}, format="json")

    assert (answer.status_code, answer.json()["quota"]["reason"]) == (200, "")
    assert BreakerChange.objects.order_by("-id").first().what == "opened again, “bought”"
    assert _client_of("iris", "view_account").post(f"{olympus['url']}/open").status_code == 403


def _client_of(name, *permissions):
    user = User.objects.create_user(name)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions, content_type__app_label="providers"))
    client = APIClient()
    client.force_login(user)
    return client
